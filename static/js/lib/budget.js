/** Which onset keeps a budget: as the server chooses it, so that a slider need not ask for every step. */

/** The lowest of the spots (by rising onset) with no busier week than `atMost`, nor any above it; null where none is. */
export function chosen(spots, atMost) {
  const busier = spots.findLastIndex((one) => one.busiest > atMost);
  return spots[busier + 1] ?? null;
}
