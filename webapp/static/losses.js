// The losses of a training, epoch by epoch, as they are told.
import {colours, frame} from "./drawing.js";

const told = [[], [], []];
let plot = null;

export function losses({epoch, train_loss: train, val_loss: held}) {
  const box = document.getElementById("losses");
  if (!box) return;
  [epoch, train, held].forEach((value, n) => told[n].push(value));
  if (plot) return plot.setData(told);
  const {accent, past} = colours();
  const series = [{label: "epoch"}, {label: "learned from", stroke: accent, width: 2}, {label: "held out", stroke: past, width: 2}];
  plot = frame(box, {series, scales: {x: {time: false}}, height: 220}, told);
}
