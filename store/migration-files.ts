import { readFile } from 'node:fs/promises';
import type { MigrationBuilder, RunnerOption } from 'node-pg-migrate';
import { z } from 'zod';

type LoaderStrategies = NonNullable<RunnerOption['migrationLoaderStrategies']>;

/** A line of a migration whose statements run one by one: `create index concurrently` works in no transaction. */
const withoutTransaction = /^-- without a transaction$/im;
const builtIndex = /create index concurrently if not exists (\w+)/gi;
const namesSchema = z.array(z.object({ name: z.string() }));
const oneStatement = /;[ \t]*\n/;

/**
 * Reads the .sql files. One with the line `-- Without a transaction` may be broken off in its middle and is run again as a whole: each statement of it
 * says `if exists` or `if not exists`, and an index that was left half-built, which Postgres keeps as invalid, is dropped first.
 */
export const migrationFiles: LoaderStrategies = [
  {
    extensions: ['.sql'],
    loader: (paths) =>
      Promise.all(
        paths.map(async (path) => {
          const sql = upPart(await readFile(path, 'utf8'));
          const up = withoutTransaction.test(sql)
            ? (pgm: MigrationBuilder) => oneByOne(pgm, sql)
            : (pgm: MigrationBuilder) => pgm.sql(sql);
          return { id: path, filePaths: [path], actions: { up, down: false as const } };
        }),
      ),
  },
];

const upPart = (text: string): string => text.split(/^-- down migration/im)[0] ?? '';

async function oneByOne(pgm: MigrationBuilder, sql: string): Promise<void> {
  pgm.noTransaction();
  const names = [...sql.matchAll(builtIndex)].map(([, name]) => name);
  const broken: unknown = await pgm.db.select(
    `select c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
      where not i.indisvalid and c.relnamespace = current_schema()::regnamespace and c.relname = any($1)`,
    [names],
  );
  for (const { name } of namesSchema.parse(broken)) pgm.sql(`drop index concurrently if exists ${name}`);
  for (const statement of sql.split(oneStatement)) {
    if (/^\s*[^-\s]/m.test(statement.replaceAll(/^--.*$/gm, ''))) pgm.sql(statement);
  }
}
