import { z } from 'zod';
import { programSettings } from '../../infra/config/settings-index.js';

/** Where the page lies, below the root of the package. */
export const settingsDocsFile = 'docs/settings.md';

/** One variable of a program. */
export interface SettingEntry {
  readonly variable: string;
  readonly meaning: string | undefined;
  /** As one would write it; `required`, or empty. */
  readonly defaultText: string;
}

/** The variables that a program reads. */
export function settingEntries(schema: z.ZodObject): SettingEntry[] {
  return Object.entries(schema.shape).map(([variable, setting]) => ({
    variable,
    meaning: setting instanceof z.ZodType ? setting.description : undefined,
    defaultText: defaultOf(setting),
  }));
}

/** The text of `docs/settings.md`: a table for each program. */
export function settingsDocs(): string {
  const programs = Object.values(programSettings).flatMap(({ title, schema }) => [
    `## ${title}`,
    table(
      ['variable', 'default', 'meaning'],
      settingEntries(schema).map(({ variable, defaultText, meaning }) => [
        `\`${variable}\``,
        defaultText,
        meaning ?? '',
      ]),
    ),
  ]);
  return `${[
    '# Settings',
    'Made by `npm run docs:settings` from the schemas in `infra/config/`.',
    'Every program reads its environment once, at its start, and refuses to start with exit code 2 and the names of all wrong variables. Blank counts as unset. A variable `X` that is a secret has a sibling `X_FILE`: the path of a file with the value. Variables named `AGENTRUN_…` that no program knows, and those of former versions that have no meaning any more, are warned about once at the start. `agentrun doctor` checks what the settings lead to.',
    ...programs,
    '## Two base URLs',
    '`AGENTRUN_MGR_URL` is the public address: scheme, host and the path prefix that users see. `AGENTRUN_INTERNAL_MGR_URL` is the direct hop to the API beside it, without a path. Parts beside the API use the internal one, else the public one, else `http://127.0.0.1:8080`. [ADR 0016](adr/0016-one-url-contract.md) says why they are two.',
  ].join('\n\n')}\n`;
}

function defaultOf(setting: unknown): string {
  if (setting instanceof z.ZodDefault) return `\`${String(setting.def.defaultValue)}\``;
  if (!(setting instanceof z.ZodType)) return '';
  return setting.safeParse(undefined).success ? '' : 'required';
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
