/** The live channel's socket: comes back by itself, says how it stands, acknowledges what was drawn. */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 20_000;

/** How long to wait before the nth attempt; spread, so that a restarted server is not met by everybody at once. */
export function backOff(attempt, random = Math.random) {
  const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  return wait * (0.5 + random() / 2);
}

/**
 * Opens the channel and keeps it open.
 *
 * onMessage(message, acknowledge): call acknowledge() once it is drawn; the server holds back while two wait.
 * onState({name, since}): "connecting", "live", or "stale" since the last message that was heard.
 * onReturn(): the channel is back after a loss; what was missed is to be asked for once.
 */
export function connect(url, { onMessage, onState, onReturn, world = browser() }) {
  let socket = null;
  let attempt = 0;
  let timer = null;
  let watch = null;
  let heardAt = null;
  let wasLive = false;
  let isClosed = false;

  function open() {
    timer = null;
    const mine = world.makeSocket(url);
    socket = mine;
    mine.onmessage = (event) => mine === socket && hear(JSON.parse(event.data), mine);
    mine.onclose = () => mine === socket && lose();
    rewatch();
  }

  function hear(message, mine) {
    heardAt = world.now();
    rewatch();
    if (message.type === "hello") greet();
    const acknowledge = () => {
      if (message.seq !== undefined && mine === socket && mine.readyState === 1) {
        mine.send(JSON.stringify({ type: "ack", seq: message.seq }));
      }
    };
    onMessage(message, acknowledge);
  }

  function greet() {
    const isBack = wasLive;
    attempt = 0;
    wasLive = true;
    onState({ name: "live", since: heardAt });
    if (isBack) onReturn?.();
  }

  function lose() {
    drop();
    if (isClosed) return;
    onState({ name: wasLive ? "stale" : "connecting", since: heardAt, attempt });
    timer = world.setTimeout(open, backOff(attempt, world.random));
    attempt += 1;
  }

  function drop() {
    const old = socket;
    socket = null;
    world.clearTimeout(watch);
    world.clearTimeout(timer);
    timer = null;
    old?.close();
  }

  // A connection whose other end vanished looks open for minutes; silence is the only sign.
  function rewatch() {
    world.clearTimeout(watch);
    watch = world.setTimeout(lose, world.silenceMs);
  }

  world.onOffline(() => socket && lose());
  world.onOnline(() => {
    if (isClosed || socket) return;
    world.clearTimeout(timer);
    attempt = 0;
    open();
  });
  onState({ name: "connecting", since: null, attempt: 0 });
  open();
  return {
    close() {
      isClosed = true;
      drop();
    },
  };
}

function browser() {
  return {
    makeSocket: (url) => new WebSocket(url),
    setTimeout: (deed, ms) => globalThis.setTimeout(deed, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    onOffline: (deed) => globalThis.addEventListener("offline", deed),
    onOnline: (deed) => globalThis.addEventListener("online", deed),
    now: Date.now,
    random: Math.random,
    silenceMs: 60_000,
  };
}
