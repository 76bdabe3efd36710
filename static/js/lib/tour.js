/** The steps of the tour and what each says. Pure. */

const STEPS = ["wait", "alert", "evidence", "cause", "acknowledge", "done"];

export const placeOf = (step) => `${STEPS.indexOf(step) + 1} of ${STEPS.length}`;

/** What a step says: its title, words, the part of the page that it speaks of, and its button; none where the page goes on. */
export function tell({ step, mote, alert, seen_at: seenAt, starts_at: startsAt, ends_at: endsAt }, page = {}) {
  const { status = "open", hasEvidence = true, now = Date.now() } = page;
  const heard = Math.max(1, Math.round((seenAt - Date.parse(startsAt)) / 1000));
  switch (step) {
    case "wait":
      return alert
        ? { title: "There is the alert", words: `“${alert.words}”, ${heard} s after it began. It came by the live channel, without a reload.`, spot: ".alerts-card", next: "Open it" }
        : { title: `Mote ${mote} fails now`, words: "Its temperature is off by several degrees from one second to the next, for two minutes. Watch the open alerts: there is nothing to press.", spot: ".alerts-card" };
    case "alert":
      return { title: "What an alert says", words: "Mote, channel, value, and what was expected at this hour. Below: how sure it is, how good the sensor has been of late, and who has it.", spot: "#alert", next: "How does it know?" };
    case "evidence":
      return hasEvidence
        ? { title: "Its evidence", words: "The readings two hours around with the band in which they were expected, kept unchanged: anybody can score them again. Above them stands what speaks for a broken sensor, and what for a real event.", spot: "#evidence-chart", next: "And the cause?" }
        : { title: "Its evidence", words: "It is taken within a minute of the alert. You need not wait.", spot: "#evidence-title", next: "Take it now" };
    case "cause":
      return { title: "The cause", words: "Each channel with its share: most is the temperature’s. Below: the neighbours did not move with it, so it is this sensor and not the room.", spot: "#contributions-title", next: "What do I do?" };
    case "acknowledge":
      if (!["resolved", "closed", "open"].includes(status)) return { title: "Somebody has it", words: "Everybody sees who, and nobody is told a second time.", spot: "#status", next: "Go on" };
      if (status !== "open") return { title: "It is over by itself", words: "The sensor behaves again and SIEIS has resolved its alert; there is nothing to acknowledge any more.", spot: "#status", next: "Go on" };
      return { title: "Say that you have it", words: "Acknowledge it: everybody sees it at once, and nobody is told a second time.", spot: "[data-step=acknowledge]" };
    default: {
      const isOver = now > Date.parse(endsAt);
      return { title: "That was it", words: `A fault, ${heard} s to its alert, its evidence and its cause. Mote ${mote} ${isOver ? "is as it was" : "will be as it was within two minutes"}, by itself; what was done stands in the alert’s story.`, next: "Done" };
    }
  }
}

/** The step after this one. */
export const after = (step) => STEPS[STEPS.indexOf(step) + 1] ?? null;
