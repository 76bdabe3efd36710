/** Between an instant and what a field of date and time shows on the page's wall clock. Pure. */
import { fromWall, wall } from "./zone.js";

const two = (part) => String(part).padStart(2, "0");

/** The value of a datetime-local field: 2026-03-02T09:05:03. */
export function fieldOf(ms) {
  const at = wall(ms);
  const day = `${String(at.getUTCFullYear()).padStart(4, "0")}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  return `${day}T${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}

/** The instant that a field says, in UTC with a Z; null where it says none. */
export function instantOf(value) {
  const ms = fromWall(Date.parse(`${value}Z`));
  return Number.isFinite(ms) ? new Date(ms).toISOString().replace(".000Z", "Z") : null;
}
