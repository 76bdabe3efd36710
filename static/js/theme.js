// Before the first paint, so that a chosen theme does not flash; hence no module.
(() => {
  try {
    const chosen = localStorage.getItem("sieis-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; the account's theme, else the system's, is right then.
  }
})();
