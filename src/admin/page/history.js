// The last hour: the gateway's own history, and the polls of the last minutes, which only this page keeps. And its charts.

import { ask } from './ask.js';
import { Chart } from './chart.js';
import { at } from './dom.js';
import { NONE, latency, percent, rate, sum } from './units.js';
import { FROM_MEMORY, NO_LOOK_UP, OUTCOMES, RESULTS, STALE_REASONS } from './words.js';

/** Period of the shown hit ratio, in seconds; the ratio of a single second varies too much. */
export const RATIO_SECONDS = 10;
/** Age of the oldest poll that is kept, in seconds; and the period for which polls are drawn where there are any. */
const LIVE_SECONDS = 300;
/** Time between two requests for the gateway's history, in seconds. */
const RECALL_SECONDS = 20;
/** Longest time between two polls that are compared, in seconds: the page was hidden for longer ones. */
const LONGEST_GAP = 15;

const seriesOf = (names) => names.toReversed().map((name) => ({ name, className: `c-${name}` }));
const inOrder = (series, values) => series.map(({ name }) => values[name]);
const outcomeSeries = seriesOf(OUTCOMES);
const resultSeries = seriesOf(RESULTS);

const charts = {
  requests: new Chart(at('chart-requests'), outcomeSeries, { format: rate, stacked: true, least: 1 }),
  ratio: new Chart(at('chart-ratio'), [{ name: `of ${RATIO_SECONDS} s`, className: 'c-ratio' }], {
    format: (share) => (share === 0 || share === 0.5 ? `${share * 100} %` : percent(share)),
    top: 1,
  }),
  upstream: new Chart(at('chart-upstream'), resultSeries, { format: rate, stacked: true, least: 1 }),
  flight: new Chart(at('chart-flight'), [{ name: 'on the wire', className: 'c-flight' }], {
    format: (number) => (number === null ? NONE : rate(number)),
    least: 2,
  }),
  latency: new Chart(at('chart-latency'), seriesOf(['p50', 'p99']), { format: (seconds) => formatLatency(seconds), least: 0.001 }),
};

let last = null;
let live = [];
let past = [];
/** Time of the latest request for the gateway's history. */
let recalled = -Infinity;
let floor = 0;

function formatLatency(seconds) {
  if (seconds === null) return NONE;
  return seconds === 0 ? '0' : latency(seconds, floor);
}

/** Returns the point of the latest poll; `undefined` after the first one. */
export function latest() {
  return live.at(-1);
}

/** Asks for the gateway's history, if that is due: at the opening, after a restart, and three times a minute. */
export async function recall({ time: text, uptime_seconds: uptime }) {
  const time = Date.parse(text) / 1_000;
  if (last && uptime < last.status.uptime_seconds) [past, live, last, recalled] = [[], [], null, -Infinity];
  if (time - recalled < RECALL_SECONDS) return;
  const history = await ask('/status/history');
  recalled = time;
  past = history.time.map((end, index) => {
    const seconds = history.seconds[index];
    const rates = (columns) => Object.fromEntries(Object.entries(columns).map(([name, counts]) => [name, counts[index] / seconds]));
    return {
      time: Date.parse(end) / 1_000,
      seconds,
      requests: rates(history.requests),
      results: rates(history.upstream.requests),
      flight: history.upstream.in_flight[index],
      latency: { p50: history.latency_seconds.p50[index], p99: history.latency_seconds.p99[index] },
    };
  });
}

/** Returns the rates per second between two polls; `null` if the gateway was restarted between them. */
function between(before, after, seconds) {
  const rates = (key, names) =>
    Object.fromEntries(names.map((name) => [name, (key(after)[name] - key(before)[name]) / seconds]));
  const requests = rates((status) => status.requests, OUTCOMES);
  const results = rates((status) => status.upstream.requests, RESULTS);
  const stale = rates((status) => status.stale, STALE_REASONS);
  const restarted = Object.values({ ...requests, ...results }).some((number) => number < 0);
  if (restarted || seconds <= 0 || seconds > LONGEST_GAP) return null;
  return { requests, results, stale, seconds };
}

/** Adds the status of a poll to the points; a restart of the gateway, or a gap, clears the earlier polls. */
export function remember(status, time) {
  floor = status.latency_floor_seconds;
  if (last) {
    const point = between(last.status, status, time - last.time);
    if (point) live.push({ time, flight: status.upstream.in_flight, ...point });
    else live = [];
  }
  live = live.filter((point) => time - point.time <= LIVE_SECONDS);
  last = { status, time };
}

/** Returns the hit ratio of the last seconds; `null` if there were no look-ups. */
export function ratioNow() {
  return live.length ? ratioUpTo(live, live.length - 1) : null;
}

/** Returns the hit ratio of the seconds up to a point; `null` if there were no look-ups. */
function ratioUpTo(points, index) {
  let [hits, lookUps] = [0, 0];
  const total = ({ requests, seconds }, names) => sum(names.map((name) => requests[name])) * seconds;
  for (let from = index; from >= 0 && points[index].time - points[from].time < RATIO_SECONDS - 0.5; from -= 1) {
    hits += total(points[from], FROM_MEMORY);
    lookUps += total(points[from], OUTCOMES.filter((name) => !NO_LOOK_UP.includes(name)));
  }
  return lookUps > 0.5 ? hits / lookUps : null;
}

/** Returns the points of the chosen period, the oldest first. Of the hour, only its end is made of polls. */
function chosen() {
  const period = Number(document.querySelector('input[name="period"]:checked').value);
  const end = last?.time ?? 0;
  const [firstPoll, lastPast] = [live[0]?.time ?? Infinity, past.at(-1)?.time ?? -Infinity];
  const points = period > LIVE_SECONDS
    ? [...past, ...live.filter(({ time }) => time > lastPast)]
    : [...past.filter(({ time }) => time < firstPoll), ...live];
  return points.filter(({ time }) => end - time <= period);
}

export function drawCharts() {
  const points = chosen();
  const each = (values) => points.map((point, index) => ({ time: point.time, values: values(point, index) }));
  charts.requests.show(each(({ requests }) => inOrder(outcomeSeries, requests)));
  charts.ratio.show(each((_, index) => [ratioUpTo(points, index)]));
  charts.upstream.show(each(({ results }) => inOrder(resultSeries, results)));
  charts.flight.show(each(({ flight }) => [flight]));
  charts.latency.show(latencies(points));
}

/** Returns the latencies of the gateway's history; they last up to the end of the other charts. */
function latencies(points) {
  if (points.length === 0) return [];
  const [first, end] = [points[0].time, points.at(-1).time];
  const known = past.filter(({ time }) => time >= first && time < end);
  const newest = past.at(-1)?.latency ?? { p50: null, p99: null };
  const each = [...known, { time: end, latency: newest }];
  return each.map(({ time, latency: { p50, p99 } }) => ({ time, values: [p99, p50] }));
}

for (const choice of document.querySelectorAll('input[name="period"]')) choice.addEventListener('change', drawCharts);
