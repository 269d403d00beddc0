/** One sample of Prometheus' text format 0.0.4. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|\+?Inf)|NaN)$/i;
const label = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/gy;

/**
 * Reads an exposition strictly: each family is announced by HELP and TYPE before its samples, and no series comes twice.
 *
 * @throws Error for a line that does not fit.
 */
export function parseExposition(text: string): Sample[] {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, string>();
  const helped = new Set<string>();
  const seen = new Set<string>();
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const help = /^# HELP ([\w:]+) .+$/.exec(line);
    const type = /^# TYPE ([\w:]+) (counter|gauge|histogram|summary|untyped)$/.exec(line);
    if (help?.[1] !== undefined) helped.add(help[1]);
    else if (type?.[1] !== undefined && type[2] !== undefined) families.set(type[1], type[2]);
    else {
      const sample = readSample(line);
      const family = families.has(sample.name)
        ? sample.name
        : sample.name.replace(/_(?:bucket|sum|count)$/, '');
      if (!families.has(family) || !helped.has(family)) throw new Error(`no HELP and TYPE before ${line}`);
      const series = seriesOf(sample);
      if (seen.has(series)) throw new Error(`twice: ${series}`);
      seen.add(series);
      samples.push(sample);
    }
  }
  return samples;
}

/** Name and labels, without the value. */
export function seriesOf({ name, labels }: Sample): string {
  return `${name} ${JSON.stringify(Object.entries(labels).sort(([a], [b]) => a.localeCompare(b)))}`;
}

function readSample(line: string): Sample {
  const match = sampleLine.exec(line);
  if (match?.[1] === undefined) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  const inner = match[2] ?? '';
  label.lastIndex = 0;
  while (label.lastIndex < inner.length) {
    const pair = label.exec(inner);
    if (pair?.[1] === undefined) throw new Error(`no label: ${line}`);
    labels[pair[1]] = pair[2] ?? '';
  }
  return { name: match[1], labels, value: Number((match[3] ?? '').replace(/Inf$/i, 'Infinity')) };
}
