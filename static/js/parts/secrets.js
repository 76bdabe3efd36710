/** A page of secrets: one is made, shown this once, and revoked after a question. */
import { find, findAll, post, say, send, toast } from "./page.js";

/** `made(answer, asked)` tells {text, example} of what the API answered. */
export function secretsPage(api, { asked, made }) {
  const [make, shown, revoke] = ["make", "made", "revoke"].map((id) => document.getElementById(id));
  const form = document.getElementById("make-form");
  let chosen = null;

  document.getElementById("make-open").addEventListener("click", () => make.showModal());
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = asked(Object.fromEntries(new FormData(form)));
    const wrong = find(".error", form);
    wrong.hidden = true;
    try {
      const { text, example } = made(await post(api, body), body);
      make.close();
      find("#made-key").value = text;
      find("#made-try").value = example(find("#made-try").dataset.address);
      shown.showModal();
      find("#made-key").select();
    } catch (refused) {
      say(wrong, refused.message);
      wrong.hidden = false;
    }
  });

  find("#copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(find("#made-key").value);
      toast("Copied.");
    } catch {
      find("#made-key").select();
      toast("The browser does not let the page copy; the text is selected.", "error");
    }
  });
  find("#kept").addEventListener("click", () => location.reload());
  shown.addEventListener("cancel", (event) => event.preventDefault()); // Escape must not lose the only sight of it

  for (const button of findAll("[data-revoke]")) {
    button.addEventListener("click", () => {
      chosen = button.dataset.revoke;
      say(find(".name", revoke), button.dataset.name);
      revoke.showModal();
    });
  }
  find("#revoke-yes").addEventListener("click", async () => {
    try {
      await send("DELETE", `${api}/${chosen}`);
      location.reload();
    } catch (refused) {
      revoke.close();
      toast(refused.message, "error");
    }
  });
}
