/** The Drift page: judging a version on newer days, at once. */
import { findAll, post, toast } from "../parts/page.js";

for (const button of findAll("[data-validate]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const name = button.dataset.validate.split("/").map(encodeURIComponent).join("/");
      await post(`/api/v1/models/${name}/validations`);
      location.reload();
    } catch (refused) {
      toast(refused.message, "error");
      button.disabled = false;
    }
  });
}
