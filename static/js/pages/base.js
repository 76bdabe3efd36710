/** What every page has: theme, menus, toasts, times. */
import { find, findAll, keepTheme, send, tellTimes, toast } from "../parts/page.js";

const NEXT = { "": "light", light: "dark", dark: "" };
const NAMES = { "": "as the system", light: "light", dark: "dark" };
const ICONS = { "": "theme", light: "light", dark: "dark" };

function showTheme(button) {
  const theme = document.documentElement.dataset.theme ?? "";
  find("use", button).setAttribute("href", `#i-${ICONS[theme]}`);
  button.title = `Theme: ${NAMES[theme]}`;
  find(".sr-only", button).textContent = `Theme: ${NAMES[theme]}; change`;
}

function changeTheme() {
  const root = document.documentElement;
  const theme = NEXT[root.dataset.theme ?? ""];
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  keepTheme(theme);
  if (root.dataset.account) send("PATCH", "/api/v1/account", { theme }).catch((refused) => toast(refused.message, "error"));
}

for (const button of findAll("[data-theme-toggle]")) {
  button.hidden = false;
  showTheme(button);
  button.addEventListener("click", () => {
    changeTheme();
    showTheme(button);
  });
}

// Paper is light; charts follow the theme as they do on the screen.
let onScreen;
addEventListener("beforeprint", () => {
  onScreen = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  if (onScreen) document.documentElement.dataset.theme = onScreen;
  else delete document.documentElement.dataset.theme;
});

for (const button of findAll("[data-opens]")) {
  const target = document.getElementById(button.dataset.opens);
  button.addEventListener("click", () => {
    const isOpen = target.classList.toggle("is-open");
    button.setAttribute("aria-expanded", String(isOpen));
  });
}

document.addEventListener("click", (event) => {
  event.target.closest("[data-closes]")?.parentElement.remove();
  for (const menu of findAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of findAll("details.menu[open]")) {
    menu.open = false;
    find("summary", menu).focus();
  }
});

for (const opener of findAll("[data-dialog]")) {
  opener.addEventListener("click", () => document.getElementById(opener.dataset.dialog).showModal());
}

for (const closer of findAll("[data-close-dialog]")) {
  closer.addEventListener("click", () => closer.closest("dialog").close());
}

for (const select of findAll("select[data-submits]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

for (const button of findAll("[data-fills]")) {
  button.addEventListener("click", () => {
    find("[name=username]").value = button.dataset.fills;
    find("[name=password]").value = button.dataset.password;
    find("form .primary").focus();
  });
}

/** What scrolls can be reached and scrolled by keyboard, for as long as it is wider or higher than its place. */
const reach = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const scrolls = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
    if (scrolls && !target.hasAttribute("tabindex")) target.dataset.reached = target.tabIndex = 0;
    if (!scrolls && target.dataset.reached) {
      target.removeAttribute("tabindex");
      delete target.dataset.reached;
    }
  }
});
for (const box of findAll(".scroll, pre")) reach.observe(box);

tellTimes();
setInterval(tellTimes, 1000);
