/** What a page shows stands in its address, so that a link or a reload brings it back. Pure. */

/** The state that an address holds; what it does not say keeps its default, what it says wrongly too. */
export function parse(search, defaults, allowed = {}) {
  const asked = new URLSearchParams(search);
  const state = { ...defaults };
  for (const name of Object.keys(defaults)) {
    const value = asked.get(name);
    if (value === null) continue;
    if (allowed[name] && !allowed[name].includes(value)) continue;
    state[name] = value;
  }
  return state;
}

/** The address's query of a state: only what differs from the defaults; parameters of others are kept. */
export function format(state, defaults, search = "") {
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(state)) {
    if (value === defaults[name] || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
  return text ? `?${text}` : "";
}
