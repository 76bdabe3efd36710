/** Table rows that follow a list: found by key, made from the page's template, filled cell by cell. */
import { find, findAll, fromTemplate, say, tellTimes } from "./page.js";

/** Shows exactly these items in this order; `cells(item)` answers a text, or {text, class, href}, or {at} for an instant. */
export function followRows(body, template, items, keyOf, cells) {
  const rows = new Map(findAll("[data-key]", body).map((row) => [row.dataset.key, row]));
  const wanted = items.map((item) => {
    const row = rows.get(keyOf(item)) ?? fromTemplate(template);
    row.dataset.key = keyOf(item);
    for (const [name, content] of Object.entries(cells(item))) fill(find(`[data-cell="${name}"]`, row), content);
    return row;
  });
  if (wanted.length !== body.children.length || wanted.some((row, i) => body.children[i] !== row)) {
    body.replaceChildren(...wanted);
  }
  tellTimes(body);
}

function fill(cell, content) {
  if (content === null || typeof content !== "object") {
    say(cell, String(content ?? "–"));
    return;
  }
  if ("at" in content) {
    cell.dateTime = content.at ?? "";
    if (!content.at) say(cell, content.otherwise ?? "");
    return;
  }
  if (content.href) cell.href = content.href;
  if (cell.className !== content.class) cell.className = content.class;
  say(cell, content.text);
}
