/** On every page: how many alerts wait for somebody, kept up as they come and go, and a word when one comes. */
import { connect } from "../lib/socket.js";
import { find, get, say, toast } from "../parts/page.js";

const badge = find("#waiting");
const TOLD = ["medium", "high"];
const MOST = 10; // words at once: a storm is the badge's to tell
const TOLD_KEY = "sieis.told-alerts"; // of this tab: what one page said, the next does not say again
const told = new Set(JSON.parse(sessionStorage.getItem(TOLD_KEY) ?? "[]"));
let asked = null;

function show({ open, worst }) {
  badge.hidden = open === 0;
  badge.className = `count ${worst ?? ""}`;
  say(find("b", badge), String(open));
}

/** A storm of messages asks once a second at most. */
function ask() {
  asked ??= setTimeout(async () => {
    asked = null;
    try {
      show(await get("/api/v1/notifications/waiting"));
    } catch {
      // The page's own channel says that the server is away; the badge keeps what it knew.
    }
  }, 1000);
}

function hear(message, acknowledge) {
  acknowledge();
  if (message.type !== "alert") return;
  const { id, status, severity, words } = message.alert;
  const isNew = status === "open" && !told.has(id) && Date.now() - Date.parse(message.alert.first_seen_at) < 120_000;
  if (!told.has(id)) sessionStorage.setItem(TOLD_KEY, JSON.stringify([...told.add(id)].slice(-500)));
  // Where a page lists alerts itself, the row says it already.
  const hasRoom = find("#toasts").childElementCount < MOST;
  if (isNew && hasRoom && TOLD.includes(severity) && !find("#alerts")) toast(`New ${severity} alert: ${words}`, "warning");
  ask();
}

if (badge) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  connect(`${scheme}//${location.host}/ws/live/?ack=1`, { onMessage: hear, onState() {}, onReturn: ask });
}
