/** The log of messages on an alert's page: one is sent again. */
import { say, toast } from "../parts/page.js";
import { postsAtOnce } from "../parts/deeds.js";

postsAtOnce((_, button) => {
  toast(button.dataset.done);
  say(button, "Asked for");
});
