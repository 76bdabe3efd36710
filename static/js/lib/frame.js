/** Draws at most once a frame, however often it is asked to; and what is long, a piece a frame. */

/** Answers a function that asks for `draw`; a hidden page, which gets no frames, draws once a second. */
export function onceAFrame(draw, world = browser()) {
  let cancel = null;

  function run() {
    cancel = null;
    draw();
  }

  function ask() {
    cancel ??= world.isHidden() ? world.later(run) : world.frame(run);
  }

  // A frame that was asked for just before the page was hidden would not come until it is shown again.
  world.onVisibility(() => {
    if (!cancel) return;
    cancel();
    cancel = null;
    ask();
  });
  return ask;
}

/**
 * Answers a function that takes an iterator of pieces of work: the first is done at once, each other in a frame of its
 * own, so that nobody who clicks meanwhile waits for the whole. Newer work takes the place of what is not done yet.
 */
export function aPieceAFrame(world = browser()) {
  let pieces = null;
  const next = onceAFrame(piece, world);

  function piece() {
    if (pieces?.next().done === false) next();
    else pieces = null;
  }

  return (work) => {
    pieces = work;
    piece();
  };
}

function browser() {
  return {
    isHidden: () => document.hidden,
    onVisibility: (deed) => document.addEventListener("visibilitychange", deed),
    frame(deed) {
      const id = requestAnimationFrame(deed);
      return () => cancelAnimationFrame(id);
    },
    later(deed) {
      const id = setTimeout(deed, 1000);
      return () => clearTimeout(id);
    },
  };
}
