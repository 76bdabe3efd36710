/** Moving a mark through a list by keys. Pure. */

/** The id that the mark stands on after a step; from nowhere it goes to the first, at an end it stays. */
export function stepped(ids, current, by) {
  if (!ids.length) return null;
  const at = ids.indexOf(current);
  if (at < 0) return ids[0];
  return ids[Math.min(ids.length - 1, Math.max(0, at + by))];
}

/** Where the mark goes when its row has left the list: to what took its place, else to the last. */
export function kept(before, after, current) {
  if (current === null || after.includes(current)) return current;
  const at = before.indexOf(current);
  const follower = before.slice(at + 1).find((id) => after.includes(id));
  return follower ?? after.at(-1) ?? null;
}

/** Whether a key is meant for the list, not for a field or the browser. */
export function isForList(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  return !event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog[open], [contenteditable]");
}
