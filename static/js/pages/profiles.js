/** The pages where a pack is brought: the line that is wrong is shown, and what was edited must be looked at again. */
import { find, findAll } from "../parts/page.js";

const text = find("textarea[name=text]");

function selectLine(number) {
  const lines = text.value.split("\n");
  const start = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
  text.focus({ preventScroll: true });
  text.setSelectionRange(start, start + (lines[number - 1] ?? "").length);
  const height = parseFloat(getComputedStyle(text).lineHeight);
  text.scrollTop = Math.max(0, (number - 4) * height);
}

if (text?.dataset.line) selectLine(Number(text.dataset.line));

for (const field of findAll("textarea[name=text], input[name=file], input[name=site]")) {
  field.addEventListener("input", () => {
    const install = find("[data-install]");
    if (install) install.hidden = true;
    find("[data-check]")?.classList.add("primary");
  });
}
