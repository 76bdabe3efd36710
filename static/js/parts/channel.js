/** The live channel on a page: its socket, and the badge in the header that says how it stands. */
import { clock } from "../lib/format.js";
import { connect } from "../lib/socket.js";
import { get, tellToReload } from "./page.js";

const PROBE_AFTER = 2;
const REFUSED = [401, 403];

/** Opens the channel; takes onMessage(message, acknowledge) and onReturn(). */
export function openChannel({ onMessage, onReturn }) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  let protocol = null;
  const channel = connect(`${scheme}//${location.host}/ws/live/?ack=1`, {
    onMessage(message, acknowledge) {
      if (message.type === "hello") {
        protocol ??= message.version;
        if (message.version !== protocol) tellToReload("SIEIS was updated; this page still speaks its old language.");
        return;
      }
      onMessage(message, acknowledge);
    },
    onReturn,
    onState(state) {
      show(state);
      if (state.name !== "live" && state.attempt >= PROBE_AFTER) probe(channel);
    },
  });
  return channel;
}

/** A refused socket tells a browser nothing; the API says whether it is the session. */
async function probe(channel) {
  try {
    await get("/api/v1/alerts?status=active");
  } catch (refused) {
    if (!REFUSED.includes(refused.status)) return;
    channel.close();
    show({ name: "refused" });
    tellToReload("You are logged out, so nothing on this page moves any more.");
  }
}

const WORDS = {
  connecting: () => "Connecting",
  live: () => "Live",
  stale: ({ since }) => `Stale since ${clock(since)}`,
  refused: () => "Logged out",
};

function show(state) {
  const badge = document.getElementById("link");
  if (!badge) return;
  badge.className = `badge link-badge ${state.name === "refused" ? "stale" : state.name}`;
  badge.dataset.state = state.name;
  const words = WORDS[state.name](state);
  if (badge.textContent !== words) badge.textContent = words;
}
