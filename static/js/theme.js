// Before the first paint, so that a chosen theme does not flash; hence no module.
(() => {
  const root = document.documentElement;
  const ofAccount = root.dataset.accountTheme;
  try {
    if (ofAccount) localStorage.setItem("sieis-theme", ofAccount);
    else if (ofAccount === "") localStorage.removeItem("sieis-theme");
    const chosen = localStorage.getItem("sieis-theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; the account's theme, else the system's, is right then.
  }
})();
