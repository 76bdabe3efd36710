// Copies what the pages borrow from node_modules to static/vendor: `make vendor`, after `npm ci`.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";

const root = new URL("../", import.meta.url);
const vendor = new URL("static/vendor/", root);

const BORROWED = [
  { from: "chart.js/dist/chart.umd.min.js", to: "chart.umd.js" },
  { from: "chart.js/LICENSE.md", to: "chart.LICENSE.md" },
];

await rm(vendor, { recursive: true, force: true });
await mkdir(vendor, { recursive: true });
for (const { from, to } of BORROWED) {
  const text = await readFile(new URL(`node_modules/${from}`, root), "utf8");
  // Hashed static files follow the comment to a map that we do not ship, and fail.
  await writeFile(new URL(to, vendor), text.replace(/^\/\/# sourceMappingURL=.*$/gm, "").trimEnd() + "\n");
  console.log(`static/vendor/${to}  ${(text.length / 1024).toFixed(0)} KB`);
}
