// History of the last minutes, which only this page keeps, and its charts.

import { Chart, LONGEST } from './chart.js';
import { at } from './dom.js';
import { NONE, percent, rate, sum } from './units.js';
import { FROM_MEMORY, NO_LOOK_UP, OUTCOMES, RESULTS } from './words.js';

/** Period of the shown hit ratio, in seconds; the ratio of a single second varies too much. */
export const RATIO_SECONDS = 10;

const seriesOf = (names) => names.toReversed().map((name) => ({ name, className: `c-${name}` }));
const inOrder = (series, values) => series.map(({ name }) => values[name]);
const outcomeSeries = seriesOf(OUTCOMES);
const resultSeries = seriesOf(RESULTS);

const charts = {
  requests: new Chart(at('chart-requests'), outcomeSeries, { format: rate, stacked: true, least: 1 }),
  ratio: new Chart(at('chart-ratio'), [{ name: `of the last ${RATIO_SECONDS} s`, className: 'c-ratio' }], {
    format: (share) => (share === 0 || share === 0.5 ? `${share * 100} %` : percent(share)),
    top: 1,
  }),
  upstream: new Chart(at('chart-upstream'), resultSeries, { format: rate, stacked: true, least: 1 }),
  flight: new Chart(at('chart-flight'), [{ name: 'on the wire', className: 'c-flight' }], {
    format: (number) => (number === null ? NONE : rate(number)),
    least: 2,
  }),
};

let last = null;
let points = [];

/** Returns the point of the latest poll; `undefined` after the first one. */
export function latest() {
  return points.at(-1);
}

/** Returns the rates per second between two polls; `null` if the gateway was restarted between them. */
function between(before, after, seconds) {
  const rates = (key, names) =>
    Object.fromEntries(names.map((name) => [name, (key(after)[name] - key(before)[name]) / seconds]));
  const requests = rates((status) => status.requests, OUTCOMES);
  const results = rates((status) => status.upstream.requests, RESULTS);
  const restarted = Object.values({ ...requests, ...results }).some((number) => number < 0);
  if (restarted || seconds <= 0 || after.uptime_seconds < before.uptime_seconds) return null;
  return { requests, results, seconds };
}

/** Adds the status of a poll to the history; a restart of the gateway clears the earlier points. */
export function remember(status, time) {
  if (last) {
    const point = between(last.status, status, time - last.time);
    if (point) points.push({ time, flight: status.upstream.in_flight, ...point });
    else points = [];
  }
  points = points.filter((point) => time - point.time <= LONGEST);
  last = { status, time };
}

/** Returns the hit ratio of the seconds up to this point; `null` if there were no look-ups. */
export function ratioUpTo(point) {
  const lately = points.filter(({ time }) => time <= point.time && point.time - time < RATIO_SECONDS);
  const total = (names) => sum(lately.map(({ requests, seconds }) => sum(names.map((name) => requests[name])) * seconds));
  const lookUps = total(OUTCOMES.filter((name) => !NO_LOOK_UP.includes(name)));
  return lookUps > 0.5 ? total(FROM_MEMORY) / lookUps : null;
}

export function drawCharts() {
  const each = (values) => points.map((point) => ({ time: point.time, values: values(point) }));
  charts.requests.show(each(({ requests }) => inOrder(outcomeSeries, requests)));
  charts.ratio.show(each((point) => [ratioUpTo(point)]));
  charts.upstream.show(each(({ results }) => inOrder(resultSeries, results)));
  charts.flight.show(each(({ flight }) => [flight]));
}
