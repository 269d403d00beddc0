import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Express, RequestHandler } from 'express';
import { errorDocsPath } from '../contract/problem.js';
import { packageRoot } from '../infra/config/package-root.js';
import { otherMethods } from './allowed-methods.js';
import { docsPage, docsPolicy, docsScript } from './docs-page.js';
import { openApiDocument } from './openapi/document.js';

const require = createRequire(import.meta.url);
const minutesMs = 60_000;
/** Of Swagger UI only what the page loads. */
const swaggerFiles = ['swagger-ui-bundle.js', 'swagger-ui.css', 'favicon-32x32.png'] as const;

/**
 * The OpenAPI document at `/openapi.json` and its readers' page at `/docs`, for everybody and without a call to another host. Nothing redirects, and the
 * links of the page are relative, so that both work behind every prefix.
 */
export function registerDocs(app: Express, { publicUrl }: { readonly publicUrl: string | undefined }): void {
  let document: string | undefined;
  const pages: Record<string, RequestHandler> = {
    '/openapi.json': (_request, response) => {
      document ??= `${JSON.stringify(openApiDocument(publicUrl))}\n`;
      response.setHeader('cache-control', 'public, max-age=300');
      response.type('application/json').send(document);
    },
    '/docs': (request, response) => {
      const path = request.originalUrl.split('?')[0] ?? '';
      response.setHeader('content-security-policy', docsPolicy);
      response.setHeader('cache-control', 'no-cache');
      response.type('text/html').send(docsPage(path.endsWith('/') ? '' : 'docs/'));
    },
    '/docs/docs.js': (_request, response) => {
      response.setHeader('cache-control', 'no-cache');
      response.type('text/javascript').send(docsScript);
    },
    [errorDocsPath]: file(join(packageRoot(), 'docs', 'errors.md'), 5 * minutesMs),
  };
  const swaggerFolder = dirname(require.resolve('swagger-ui-dist/package.json'));
  for (const name of swaggerFiles) pages[`/docs/${name}`] = file(join(swaggerFolder, name), 60 * minutesMs);
  for (const [path, answer] of Object.entries(pages)) {
    app
      .route(path)
      .get(answer)
      .all(otherMethods(['get']));
  }
}

function file(path: string, maxAgeMs: number): RequestHandler {
  return (_request, response, next) => {
    response.sendFile(path, { maxAge: maxAgeMs, dotfiles: 'allow' }, (error: unknown) => {
      if (error !== undefined) next(error);
    });
  };
}
