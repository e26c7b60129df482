// The fine-tuning dialog: start, watch, cancel, compare, use.

import { get, post, remove } from "./api.js";
import { lineChart } from "./chart.js";
import { dialog, h, replace, toast, update } from "./dom.js";

const POLL_MS = 500;
const RUNNING = new Set(["starting", "training", "saving"]);

export function openFinetune(adopted) {
  const body = h("div", { class: "stack", "aria-live": "polite" });
  let timer = 0;
  const act = async (call) => {
    try {
      await call();
    } catch (error) {
      toast(error.message, "error");
    }
    await look();
  };
  const adopt = async () => {
    await act(async () => {
      await post("finetune/adopt");
      toast("The fine-tuned model is in use.");
      await adopted();
    });
  };
  const look = async () => {
    clearTimeout(timer);
    try {
      const job = await get("finetune");
      update(body, draw(job, act, adopt));
      clearTimeout(timer);
      if (RUNNING.has(job.stage) && body.isConnected) timer = setTimeout(look, POLL_MS);
    } catch (error) {
      replace(body, h("p", { class: "problem" }, error.message));
    }
  };
  dialog("Fine-tune", body, { onclose: () => clearTimeout(timer) });
  look();
}

function draw(job, act, adopt) {
  const start = h("button", { type: "button", class: "button main", onclick: () => act(() => post("finetune")) }, "Start fine-tuning");
  if (RUNNING.has(job.stage)) return drawRunning(job, act);
  if (job.stage === "done") return drawDone(job, act, adopt);
  return [
    h("p", {}, "The instant fit moves the label vectors only. Fine-tuning trains both encoders on your accepted texts, in a process of its own: minutes, and better with more texts."),
    h("p", { class: "hint" }, "A part of the accepted texts, every third or fifth, is held back to compare before and after. You decide then which model to keep; annotating goes on meanwhile."),
    job.missing && h("p", { class: "problem" }, job.missing),
    job.stage === "failed" && h("p", { class: "problem" }, job.message),
    job.stage === "cancelled" && h("p", { class: "hint" }, "Cancelled; nothing has changed."),
    h("div", { class: "row end" }, job.missing ? null : start),
  ];
}

function drawRunning(job, act) {
  const left = job.left_s === null ? "" : `, ${Math.max(1, Math.round(job.left_s))} s left`;
  const stage = { starting: "Measuring before", training: `Training${left}`, saving: "Saving and comparing" }[job.stage];
  return [
    h("p", {}, `${stage} …`),
    h("progress", { class: "meter", max: 1, value: job.done, "aria-label": "Training" }),
    curves(job),
    h("div", { class: "row end" }, h("button", { type: "button", class: "button quiet danger", onclick: () => act(() => remove("finetune")) }, "Cancel")),
  ];
}

function curves(job) {
  const charts = [];
  if (job.held_f1.length > 0) {
    const points = job.held_f1.map(([x, y]) => ({ x, y }));
    charts.push(h("figure", {}, h("figcaption", { class: "hint" }, "F1 on the texts held back"),
      lineChart(points, { title: "F1 on held-back texts", xMin: 0, xMax: 1, xTitle: "training" })));
  }
  if (job.loss.length > 1) {
    const top = Math.max(...job.loss);
    const points = job.loss.map((y, x) => ({ x, y: y / top }));
    charts.push(h("figure", {}, h("figcaption", { class: "hint" }, "Loss, its largest value being 100"),
      lineChart(points, { title: "Loss, as a share of its largest value", xTitle: "updates" })));
  }
  return charts.length > 0 && h("div", { class: "curves" }, charts);
}

function drawDone(job, act, adopt) {
  const bar = (title, value, kind) => h(
    "div",
    { class: "compare" },
    h("span", {}, title),
    h("progress", { class: `meter ${kind}`, max: 1, value, "aria-label": title }),
    h("strong", {}, String(Math.round(100 * value))),
  );
  return [
    h("p", {}, `Trained on ${job.n_train} accepted texts. F1 on the ${job.n_held} that were held back:`),
    bar("Before", job.before_f1, "soft"),
    bar("After", job.after_f1, ""),
    curves(job),
    h(
      "div",
      { class: "row end" },
      h("button", { type: "button", class: "button quiet", onclick: () => act(() => post("finetune/dismiss")) }, "Keep the present model"),
      h("button", { type: "button", class: "button main", onclick: adopt }, "Use the fine-tuned model"),
    ),
  ];
}
