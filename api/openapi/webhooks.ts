import type { ZodOpenApiPathsObject } from 'zod-openapi';
import { webhookMessageSchemas } from '../../contract/webhook-messages.js';

/** What subscribers are sent, as the document's `webhooks`. */
export function webhooksOf(): ZodOpenApiPathsObject {
  return Object.fromEntries(
    Object.entries(webhookMessageSchemas).map(([name, schema]) => [
      name,
      {
        post: {
          summary: schema.meta()?.description ?? name,
          description:
            'Signed by the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, as Standard Webhooks have them. Comes at least once; other messages may overtake it.',
          requestBody: { required: true, content: { 'application/json': { schema } } },
          responses: {
            '2XX': { description: 'It was taken. Answer within 10 s.' },
            '410': { description: 'The webhook is `gone`: nothing more is sent.' },
            default: { description: 'It is sent again later.' },
          },
        },
      },
    ]),
  );
}
