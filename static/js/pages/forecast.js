/** The Forecast page: draws the fans, and shows new forecasts when the live channel says that they are there. */
import { openChannel } from "../parts/channel.js";
import { FanChart } from "../parts/fan-chart.js";
import { find, findAll, onTheme, readJson, tellTimes } from "../parts/page.js";

let charts = [];

function open() {
  for (const chart of charts) chart.destroy();
  if (!document.getElementById("forecast-data")) return;
  const { channels } = readJson("forecast-data");
  charts = findAll("figure.fan").map((figure) => {
    const channel = channels.find(({ code }) => code === figure.dataset.channel);
    return new FanChart(find("canvas", figure), channel);
  });
}

/** The same page as it is now; tables that are open stay so. */
async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const opened = findAll("#forecast details").map(({ open: isOpen }) => isOpen);
  find("#forecast").replaceChildren(...find("#forecast", fresh).childNodes);
  findAll("#forecast details").forEach((one, i) => { one.open = opened[i] ?? false; });
  tellTimes();
  open();
}

open();
onTheme(() => charts.forEach((chart) => chart.draw()));
openChannel({
  onMessage(message, acknowledge) {
    if (message.type === "forecasts" || (message.type === "job" && !document.getElementById("forecast-data"))) refresh();
    acknowledge();
  },
  onReturn: refresh,
});
