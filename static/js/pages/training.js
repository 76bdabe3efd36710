/** The Training page: progress as it comes, and a question before a training is cancelled. */
import { openChannel } from "../parts/channel.js";
import { removesAfterAQuestion } from "../parts/deeds.js";
import { followJobs } from "../parts/jobs.js";

removesAfterAQuestion();
const jobs = followJobs();
openChannel({
  onMessage(message, acknowledge) {
    if (message.type === "job") jobs.take(message.job);
    acknowledge();
  },
  onReturn: jobs.ask,
});
