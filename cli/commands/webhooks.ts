import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { quickRetry, RawBody } from '../../client/index.js';
import { routes } from '../../contract/routes/index.js';
import type { WebhookDeliveryRecord, WebhookRecord } from '../../contract/webhooks.js';
import { findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { parseLabels } from '../label-options.js';
import { createOutput, type Output } from '../output.js';
import { printPage } from './lists.js';
import type { Run } from './run-command.js';

const optionNames = {
  webhookId: '<webhookId>',
  deliveryId: '<deliveryId>',
  url: '<url>',
  events: '--event',
  labels: '--label',
  tenantId: '--tenant',
  projectId: '--project',
  formerValidMs: '--former-valid-hours',
  'query.limit': '--limit',
  'query.cursor': '--cursor',
  'query.state': '--state',
};
const hourMs = 3_600_000;

interface AddOptions {
  readonly event?: readonly string[];
  readonly label: readonly string[];
  readonly tenant?: string;
  readonly project?: string;
  readonly description?: string;
}
interface PageOptions {
  readonly limit: string;
  readonly cursor?: string;
  readonly state?: string;
}

/** Adds `webhook`: who is told when runs and tasks end and when an agent waits for a person. */
export function addWebhookCommands(program: Command, run: Run): void {
  const webhook = program
    .command('webhook')
    .description('signed messages to a URL: when runs and tasks end, and when an agent waits for a person');
  const act = (command: Command, work: (output: Output) => Promise<void>) =>
    run(
      command,
      async () => {
        await work(createOutput(command.optsWithGlobals().json === true));
        return exitCodes.ok;
      },
      { optionNames },
    );

  webhook
    .command('add')
    .description('subscribe a URL; its secret is shown now and not again')
    .argument('<url>', 'https://…')
    .option('--event <types...>', 'run.completed, run.failed, task.failed, request.pending …; default: all')
    .option('--label <key=value...>', 'only what has this label; may be repeated', [])
    .option('--tenant <tenantId>', "default: the token's; a token of all tenants then hears of all")
    .option('--project <projectId>', 'only what is of this project')
    .option('--description <text>')
    .action((url: string, options: AddOptions, command: Command) =>
      act(command, async (output) => {
        const { event, label, tenant, project, description } = options;
        const labels = parseLabels(label);
        const made = await findApi(output).client.call(
          routes.createWebhook,
          {
            body: RawBody.json({
              url,
              ...(event === undefined ? {} : { events: event }),
              ...(labels === undefined ? {} : { labels }),
              ...(tenant === undefined ? {} : { tenantId: tenant }),
              ...(project === undefined ? {} : { projectId: project }),
              ...(description === undefined ? {} : { description }),
            }),
          },
          { retry: quickRetry, headers: { 'idempotency-key': randomUUID() } },
        );
        output.data(made);
        output.line(`id      ${made.id}`, `secret  ${made.secret}  shown only now`);
      }),
    );

  paged(webhook.command('list').description('webhooks, the newest first')).action(
    ({ limit, cursor }: PageOptions, command: Command) =>
      act(command, async (output) => {
        const page = await findApi(output).client.call(routes.listWebhooks, { query: { limit, cursor } });
        printPage(output, page, [
          ['WEBHOOK', ({ id }) => id],
          ['STATE', ({ state }) => state],
          ['TENANT', ({ tenantId }) => tenantId ?? 'all'],
          ['EVENTS', ({ events }) => (events.length === 10 ? 'all' : events.join(','))],
          ['URL', ({ url }) => url],
        ]);
      }),
  );

  const one = (
    name: string,
    description: string,
    work: (webhookId: string, output: Output) => Promise<void>,
  ) =>
    webhook
      .command(name)
      .description(description)
      .argument('<webhookId>')
      .action((webhookId: string, _options: unknown, command: Command) =>
        act(command, (output) => work(webhookId, output)),
      );

  one('show', 'one webhook', async (webhookId, output) => {
    const found = await findApi(output).client.call(routes.getWebhook, { params: { webhookId } });
    output.data(found);
    output.line(...webhookLines(found));
  });
  one('remove', 'end a subscription', async (webhookId, output) => {
    output.data(await findApi(output).client.call(routes.deleteWebhook, { params: { webhookId } }));
    output.line(`${webhookId} is removed`);
  });
  for (const [name, state, description] of [
    ['pause', 'paused', 'send nothing until `webhook resume`'],
    ['resume', 'active', 'send again, also after the receiver has answered 410'],
  ] as const) {
    one(name, description, async (webhookId, output) => {
      const { client } = findApi(output);
      const changed = await client.call(routes.updateWebhook, { params: { webhookId }, body: { state } });
      output.data(changed);
      output.line(`${webhookId} is ${changed.state}`);
    });
  }
  one('test', 'send a message of type webhook.test', async (webhookId, output) => {
    const delivery = await findApi(output).client.call(routes.testWebhook, { params: { webhookId } });
    output.data(delivery);
    output.line(delivery.id);
    output.remark(`what becomes of it: agentrun webhook deliveries ${webhookId}`);
  });

  webhook
    .command('rotate')
    .description('make a new secret; the former one signs too for a while')
    .argument('<webhookId>')
    .option(
      '--former-valid-hours <hours>',
      'how long the former secret counts, up to 168; 0: not any more',
      '24',
    )
    .option('--end-former', 'make none: only end the secret before the last rotation now')
    .action(
      (webhookId: string, options: { formerValidHours: string; endFormer?: boolean }, command: Command) =>
        act(command, async (output) => {
          const { client } = findApi(output);
          if (options.endFormer === true) {
            const body = { endFormerSecret: true };
            output.data(await client.call(routes.updateWebhook, { params: { webhookId }, body }));
            output.line(`${webhookId} signs with one secret`);
            return;
          }
          const rotated = await client.call(
            routes.rotateWebhookSecret,
            {
              params: { webhookId },
              body: { formerValidMs: hoursInMs(options.formerValidHours) },
            },
            { retry: quickRetry, headers: { 'idempotency-key': randomUUID() } },
          );
          output.data(rotated);
          output.line(rotated.secret);
          output.remark(
            rotated.formerSecretUntil === null
              ? 'the former secret signs no more'
              : `the former secret signs too until ${rotated.formerSecretUntil}`,
          );
        }),
    );

  paged(
    webhook
      .command('deliveries')
      .description('what was sent and is to be sent, the newest first')
      .argument('<webhookId>'),
  )
    .option('--state <state>', 'waiting, sending, delivered or dead')
    .action((webhookId: string, { limit, cursor, state }: PageOptions, command: Command) =>
      act(command, async (output) => {
        const page = await findApi(output).client.call(routes.listWebhookDeliveries, {
          params: { webhookId },
          query: { limit, cursor, state },
        });
        printPage(output, page, [
          ['DELIVERY', ({ id }) => id],
          ['TYPE', ({ type }) => type],
          ['STATE', ({ state: now }) => now],
          ['TRIES', ({ tries }) => String(tries)],
          ['LAST', lastTry],
          ['CREATED', ({ createdAt }) => createdAt],
        ]);
      }),
    );

  webhook
    .command('redeliver')
    .description('send a message again, under the same id')
    .argument('<webhookId>')
    .argument('<deliveryId>')
    .action((webhookId: string, deliveryId: string, _options: unknown, command: Command) =>
      act(command, async (output) => {
        const params = { webhookId, deliveryId };
        const delivery = await findApi(output).client.call(routes.redeliverWebhook, { params });
        output.data(delivery);
        output.line(`${delivery.id} ${delivery.state}`);
      }),
    );
}

/** What it may be is said by the API. @throws UsageError for what is no number. */
function hoursInMs(text: string): number {
  if (!/^\d+(?:\.\d+)?$/.test(text))
    throw new UsageError(`--former-valid-hours: expected hours, received ${JSON.stringify(text)}`);
  return Math.round(Number(text) * hourMs);
}

const paged = (command: Command): Command =>
  command
    .option('--limit <count>', 'how many at most, up to 500', '50')
    .option('--cursor <cursor>', 'where to go on: what the list before named as its next cursor');

function lastTry({ results }: WebhookDeliveryRecord): string {
  const last = results.at(-1);
  if (last === undefined) return '-';
  const status = last.status === null ? '' : `HTTP ${last.status}`;
  return [status, last.failure === 'http-status' ? '' : (last.failure ?? '')]
    .filter((word) => word !== '')
    .join(' ');
}

function webhookLines(webhook: WebhookRecord): string[] {
  const labels = Object.entries(webhook.labels).map(([key, value]) => `${key}=${value}`);
  return [
    `${webhook.id}  ${webhook.state}`,
    `url      ${webhook.url}`,
    `of       tenant ${webhook.tenantId ?? '(all)'}, project ${webhook.projectId ?? '(all)'}`,
    `events   ${webhook.events.join(', ')}`,
    ...(labels.length === 0 ? [] : [`labels   ${labels.join(', ')}`]),
    ...(webhook.description === null ? [] : [`for      ${webhook.description}`]),
    `secret   generation ${webhook.secretGeneration}${
      webhook.formerSecretUntil === null ? '' : `, the former signs too until ${webhook.formerSecretUntil}`
    }`,
  ];
}
