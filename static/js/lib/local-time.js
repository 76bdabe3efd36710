/** Between an instant and what a field of date and time shows on the reader's own clock. Pure. */

const two = (part) => String(part).padStart(2, "0");

/** The value of a datetime-local field: 2026-03-02T09:05:03. */
export function fieldOf(ms) {
  const at = new Date(ms);
  const day = `${String(at.getFullYear()).padStart(4, "0")}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** The instant that a field says, in UTC with a Z; null where it says none. */
export function instantOf(value) {
  const ms = Date.parse(value);
  return Number.isFinite(ms) ? new Date(ms).toISOString().replace(".000Z", "Z") : null;
}
