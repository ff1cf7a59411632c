// Formatting of numbers, sizes and times for people.

export const NONE = '–';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** Returns the sum of these numbers. */
export function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Formats a count with all its digits. */
export function count(number) {
  return whole.format(number);
}

/** Formats a count for a narrow place: 1.2K. */
export function brief(number) {
  return number < 10_000 ? whole.format(number) : short.format(number);
}

/** Formats a rate per second. */
export function rate(number) {
  if (number === null || number === undefined) return NONE;
  if (number === 0) return '0';
  if (number < 0.01) return '<0.01';
  if (number < 9.95 && !Number.isInteger(number)) return number.toFixed(number < 0.995 ? 2 : 1);
  return brief(Math.round(number));
}

/** Formats a share between 0 and 1; only exactly 1 becomes 100 %. */
export function percent(share) {
  if (share === null || share === undefined) return NONE;
  if (share === 1) return '100 %';
  return `${Math.min(share * 100, 99.99).toFixed(share > 0.99 ? 2 : 1)} %`;
}

/** Formats a latency in seconds; one within the histograms' first bucket, up to `floor`, is known no better than that. */
export function latency(seconds, floor = 0) {
  if (floor > 0 && seconds <= floor) return `< ${latency(floor)}`;
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(2)} s`;
}

/** Formats a span of seconds by its two largest units. */
export function span(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const parts = [
    [Math.floor(left / 86_400), 'd'],
    [Math.floor(left / 3_600) % 24, 'h'],
    [Math.floor(left / 60) % 60, 'm'],
    [left % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0s';
  const largest = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return largest.map(([amount, unit]) => `${amount}${unit}`).join(' ');
}

/** Formats bytes in powers of 1,024. */
export function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let power = 0;
  let amount = number;
  while (amount >= 1024 && power < units.length - 1) {
    amount /= 1024;
    power += 1;
  }
  const digits = power === 0 || amount >= 100 || Number.isInteger(amount) ? 0 : 1;
  return `${amount.toFixed(digits)} ${units[power]}`;
}

/** Formats a time, with its date unless it is today. */
export function moment(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  const clock = time.toTimeString().slice(0, 8);
  const isToday = time.toDateString() === new Date().toDateString();
  const pad = (number) => String(number).padStart(2, '0');
  return isToday ? clock : `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())} ${clock}`;
}
