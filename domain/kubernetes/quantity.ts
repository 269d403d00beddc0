/** Milliunits per suffix: the smallest unit of Kubernetes is a thousandth, and a number holds every size that a node has exactly enough to compare. */
const milliunits: ReadonlyMap<string, number> = new Map([
  ['m', 1],
  ['', 1e3],
  ['k', 1e6],
  ['M', 1e9],
  ['G', 1e12],
  ['T', 1e15],
  ['P', 1e18],
  ['Ki', 1e3 * 2 ** 10],
  ['Mi', 1e3 * 2 ** 20],
  ['Gi', 1e3 * 2 ** 30],
  ['Ti', 1e3 * 2 ** 40],
  ['Pi', 1e3 * 2 ** 50],
]);

/**
 * A quantity of Kubernetes (`500m`, `2`, `1.5Gi`, `1e3`) in milliunits: thousandths of a core, or of a byte; undefined: it is none. The suffixes `n`, `u`
 * and `E` are left out: nobody means them, and `1E` is read as an exponent by one tool and as a size by the next.
 */
export function parseQuantity(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)(?:[eE](\d{1,2})|(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi))?$/.exec(text);
  if (match === null) return undefined;
  const [, digits = '', exponent, suffix] = match;
  const scale = exponent === undefined ? milliunits.get(suffix ?? '') : 1e3 * 10 ** Number(exponent);
  return scale === undefined ? undefined : Number(digits) * scale;
}
