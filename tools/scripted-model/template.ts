/** What `{{name}}` in the text of a step may stand for; the values come from the request that the step answers. */
export const runtimePlaceholders = [
  'lastUserMessage',
  'newUserMessages',
  'turnUserMessages',
  'steers',
  'lastToolOutput',
  'lastExitCode',
  'shellSessionId',
  'position',
  'scenario',
] as const;
export type RuntimePlaceholder = (typeof runtimePlaceholders)[number];
export type TemplateValues = Readonly<Record<RuntimePlaceholder, string>>;

/**
 * What may stand in a command or a tool argument. No text of a user or of a tool is among them: put into a shell
 * command it would be run.
 */
export const shellPlaceholders: readonly RuntimePlaceholder[] = ['shellSessionId', 'position', 'scenario'];

const placeholder = /\{\{([a-zA-Z]+(?:\.[a-zA-Z]+)?)\}\}/g;
const wholePlaceholder = /^\{\{param\.([a-zA-Z]+)\}\}$/;
const numeral = /^-?\d+(\.\d+)?$/;

/** The names between `{{` and `}}` in a text. */
export function placeholdersIn(text: string): string[] {
  return [...text.matchAll(placeholder)].map((match) => match[1] ?? '');
}

/** Fills in what a request says. Names that are not known stay as they are; the schema has refused them before. */
export function fillIn(text: string, values: TemplateValues): string {
  const known = new Map<string, string>(Object.entries(values));
  return text.replace(placeholder, (whole, name: string) => known.get(name) ?? whole);
}

/**
 * Fills `{{param.NAME}}` into every string of a scenario file. A string that is nothing but one placeholder becomes a
 * number when its value is one, so `"times": "{{param.times}}"` works.
 *
 * @throws Error when a parameter has no value.
 */
export function fillInParams(value: unknown, params: Readonly<Record<string, string>>): unknown {
  if (typeof value === 'string') return fillInString(value, params);
  if (Array.isArray(value)) return value.map((element) => fillInParams(element, params));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, element]) => [key, fillInParams(element, params)]),
  );
}

function fillInString(text: string, params: Readonly<Record<string, string>>): string | number {
  const whole = wholePlaceholder.exec(text)?.[1];
  if (whole !== undefined) {
    const value = paramValue(whole, params);
    return numeral.test(value) ? Number(value) : value;
  }
  return text.replace(placeholder, (match, name: string) =>
    name.startsWith('param.') ? paramValue(name.slice('param.'.length), params) : match,
  );
}

function paramValue(name: string, params: Readonly<Record<string, string>>): string {
  const value = params[name];
  if (value === undefined) throw new Error(`the scenario declares no parameter "${name}"`);
  return value;
}
