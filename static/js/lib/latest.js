/** Asking while somebody still changes what is asked. Pure but for the timer that is handed in. */

/**
 * A function that asks once the changes pause; only the answer to the newest question is told, and a question that
 * comes while another is on its way waits for it: one at a time, the newest next.
 */
export function askLatest(ask, tell, { pauseMs = 120, later = setTimeout, cancel = clearTimeout } = {}) {
  let timer = null;
  let waiting = null;
  let isAsking = false;

  async function next() {
    timer = null;
    if (isAsking || waiting === null) return;
    const [question] = waiting;
    waiting = null;
    isAsking = true;
    const answer = await ask(question).catch((error) => ({ error }));
    isAsking = false;
    if (waiting === null) tell(answer);
    else if (timer === null) await next();
  }

  return (question) => {
    waiting = [question];
    if (timer !== null) cancel(timer);
    timer = later(next, pauseMs);
  };
}
