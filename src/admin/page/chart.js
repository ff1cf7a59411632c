// Small charts of the time up to now, in SVG: a stack of areas or one line, and a legend that shows the
// latest values, or those under the pointer.

import { span as duration } from './units.js';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 148;
const MARGIN = { left: 50, right: 8, top: 8, bottom: 20 };
/** Time spans of a chart, in seconds: it takes the shortest that holds all points. */
const SPANS = [60, 120, 300, 600, 1_200, 1_800, 3_600];

/** Makes an SVG element. */
function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Returns the smallest round number, 1, 2 or 5 times a power of ten, that is not below this one. */
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= number * 0.999);
}

export class Chart {
  /**
   * `series` are `{ name, className }`, the lowest of a stack first; `format` writes a value; `top`
   * is the upper end of the scale if it is fixed.
   */
  constructor(figure, series, { format, stacked = false, top = null, least = 1 }) {
    Object.assign(this, { figure, series, format, stacked, top, least });
    this.points = [];
    this.pointed = null;
    this.svg = draw('svg', { height: HEIGHT, role: 'img' });
    // Without this rectangle, pointer events would reach the chart only where something is drawn.
    this.ground = draw('rect', { width: '100%', height: HEIGHT, class: 'ground' });
    this.legend = document.createElement('ul');
    this.legend.className = 'legend';
    this.values = series.map(({ name, className }) => this.#entry(name, className));
    figure.append(this.svg, this.legend);
    this.svg.addEventListener('pointermove', (event) => this.#point(event));
    this.svg.addEventListener('pointerleave', () => this.#point(null));
    new ResizeObserver(() => this.render()).observe(figure);
  }

  /** Shows these points, `{ time, values }`, the oldest first; `null` stands for an unknown value. */
  show(points) {
    this.points = points;
    this.render();
  }

  render() {
    const width = Math.max(200, this.svg.parentElement.clientWidth - this.#padding());
    const plot = {
      left: MARGIN.left,
      right: width - MARGIN.right,
      top: MARGIN.top,
      bottom: HEIGHT - MARGIN.bottom,
    };
    this.svg.setAttribute('width', width);
    this.svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    const end = this.points.at(-1)?.time ?? 0;
    const age = end - (this.points[0]?.time ?? end);
    const span = SPANS.find((candidate) => candidate >= age) ?? SPANS.at(-1);
    const highest = this.top ?? roundUp(Math.max(this.least, ...this.points.map((point) => this.#height(point))));
    this.x = (time) => plot.right - ((end - time) / span) * (plot.right - plot.left);
    this.y = (value) => plot.bottom - (Math.min(value, highest) / highest) * (plot.bottom - plot.top);
    const described = this.pointed ?? this.points.at(-1);
    this.svg.replaceChildren(
      this.ground,
      ...this.#grid(plot, highest, span),
      ...(this.stacked ? this.#areas() : this.#lines()),
      ...this.#pointer(plot),
    );
    this.#describe(described);
  }

  #padding() {
    const style = getComputedStyle(this.figure);
    return parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  }

  #height({ values }) {
    const known = values.map((value) => value ?? 0);
    return this.stacked ? known.reduce((sum, value) => sum + value, 0) : Math.max(...known);
  }

  #grid(plot, highest, span) {
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(this.y(highest * share)) + 0.5;
      parts.push(draw('line', { x1: plot.left, x2: plot.right, y1: y, y2: y, class: share === 0 ? 'axis' : 'grid' }));
      parts.push(draw('text', { x: plot.left - 6, y: y + 3.5, class: 'tick end' }, this.format(highest * share)));
    }
    const minutes = (seconds) => (seconds < 60 ? `−${seconds} s` : `−${seconds / 60} min`);
    const y = plot.bottom + 14;
    parts.push(draw('text', { x: plot.left, y, class: 'tick' }, minutes(span)));
    parts.push(draw('text', { x: (plot.left + plot.right) / 2, y, class: 'tick middle' }, minutes(span / 2)));
    parts.push(draw('text', { x: plot.right, y, class: 'tick end' }, 'now'));
    return parts;
  }

  #areas() {
    const below = this.points.map(() => 0);
    return this.series.flatMap(({ className }, index) => {
      const lower = this.points.map(({ time }, at) => `${this.#coordinates(time, below[at])}`);
      let any = false;
      this.points.forEach(({ values }, at) => {
        any ||= values[index] > 0;
        below[at] += values[index] ?? 0;
      });
      if (!any || this.points.length < 2) return [];
      const upper = this.points.map(({ time }, at) => `${this.#coordinates(time, below[at])}`);
      return [draw('path', { class: `area ${className}`, d: `M${upper.join('L')}L${lower.reverse().join('L')}Z` })];
    });
  }

  #lines() {
    return this.series.map(({ className }, index) => {
      let d = '';
      let pen = 'M';
      for (const { time, values } of this.points) {
        if (values[index] === null) {
          pen = 'M';
        } else {
          d += `${pen}${this.#coordinates(time, values[index])}`;
          pen = 'L';
        }
      }
      return draw('path', { class: `line ${className}`, d });
    });
  }

  #coordinates(time, value) {
    return `${this.x(time).toFixed(1)} ${this.y(value).toFixed(1)}`;
  }

  #pointer(plot) {
    if (!this.pointed) return [];
    const x = this.x(this.pointed.time);
    const ago = Math.round(this.points.at(-1).time - this.pointed.time);
    const end = x > (plot.left + plot.right) / 2;
    return [
      draw('line', { x1: x, x2: x, y1: plot.top, y2: plot.bottom, class: 'pointer' }),
      draw('text', { x: x + (end ? -5 : 5), y: plot.top + 9, class: end ? 'tick end' : 'tick' }, ago ? `−${duration(ago)}` : 'now'),
    ];
  }

  #point(event) {
    this.pointed = null;
    if (event && this.points.length > 0) {
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      const distance = (point) => Math.abs(this.x(point.time) - x);
      this.pointed = this.points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    }
    this.render();
  }

  #entry(name, className) {
    const item = document.createElement('li');
    const swatch = document.createElement('span');
    swatch.className = `swatch ${className}`;
    const value = document.createElement('b');
    item.append(swatch, `${name} `, value);
    // In the order of the stack: the highest first.
    this.legend.prepend(item);
    return { item, value };
  }

  /** Writes a point's values to the legend. It leaves out a series of zeros only, unless it is the only one. */
  #describe(point) {
    const parts = [];
    this.values.forEach(({ item, value }, index) => {
      const any = this.series.length === 1 || this.points.some(({ values }) => values[index] > 0);
      item.hidden = !any;
      value.textContent = this.format(point?.values[index] ?? null);
      if (any) parts.push(`${this.series[index].name} ${value.textContent}`);
    });
    const title = this.figure.querySelector('figcaption').textContent;
    this.svg.setAttribute('aria-label', `${title}: ${parts.join(', ') || 'nothing'}`);
    this.legend.classList.toggle('idle', parts.length === 0);
  }
}
