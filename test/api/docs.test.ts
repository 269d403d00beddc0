import { describe, expect, it } from 'vitest';
import { useApi } from '../support/use-api.js';

const { api } = await useApi({ pathPrefix: '/agentrun' });

const get = (path: string, method = 'GET') => fetch(`${api.url}${path}`, { method, redirect: 'error' });

describe('the OpenAPI document', () => {
  it.each(['', '/agentrun'])('is served to everybody behind the prefix "%s"', async (prefix) => {
    const answer = await get(`${prefix}/openapi.json`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(answer.headers.get('cache-control')).toBe('public, max-age=300');
    expect(await answer.json()).toMatchObject({ openapi: '3.1.1', servers: [{ url: './' }] });
  });
});

describe('the docs page', () => {
  it.each(['/docs', '/docs/', '/agentrun/docs', '/agentrun/docs/'])(
    'answers %s without a redirect, and all that it loads is there',
    async (path) => {
      const page = await get(path);
      expect(page.status).toBe(200);
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
      const links = [...(await page.text()).matchAll(/(?:src|href)="([^"]+)"/g)].map(
        ([, link]) => link ?? '',
      );
      expect(links).toHaveLength(5);
      for (const link of links) {
        const target = new URL(link, `${api.url}${path}`);
        expect(target.origin).toBe(api.url);
        expect([target.pathname, (await get(target.pathname)).status]).toEqual([target.pathname, 200]);
      }
    },
  );

  it('allows scripts and styles of its own only, and the rest of the API none', async () => {
    const policy = (await get('/docs')).headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    const ofRoutes = (await get('/health/live')).headers.get('content-security-policy');
    expect(ofRoutes).toBe("default-src 'none';frame-ancestors 'none'");
  });

  it('leads to the failure kinds', async () => {
    const answer = await get('/docs/errors.md');
    expect(answer.headers.get('content-type')).toBe('text/markdown; charset=utf-8');
    expect(await answer.text()).toContain('id="schema-invalid"');
  });

  it.each([
    '/docs/swagger-ui-standalone-preset.js',
    '/docs/index.html',
    '/docs/swagger-ui-bundle.js.map',
    '/docs/..%2fpackage.json',
    '/docs/docs/docs.js',
  ])('has no %s', async (path) => {
    expect((await get(path)).status).toBe(404);
  });
});

describe('methods of both', () => {
  it.each(['/openapi.json', '/docs', '/docs/', '/docs/docs.js', '/docs/swagger-ui.css', '/docs/errors.md'])(
    '%s: HEAD as GET without a body, OPTIONS, all others 405',
    async (path) => {
      const read = await get(path);
      const head = await get(path, 'HEAD');
      expect([head.status, await head.text()]).toEqual([200, '']);
      expect(head.headers.get('content-length')).toBe(read.headers.get('content-length'));
      await read.body?.cancel();
      const options = await get(path, 'OPTIONS');
      expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
        const answer = await api.call(method, path, { token: null });
        expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
        expect(answer.body).toMatchObject({ ok: false, failureKind: 'method-not-allowed' });
      }
    },
  );
});
