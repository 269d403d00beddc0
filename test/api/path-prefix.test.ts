import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { stripPrefix } from '../../api/path-prefix.js';

describe('the path prefix /api', () => {
  it.each([
    ['/api', '/', 1],
    ['/api/', '/', 1],
    ['/api?x=/api', '/?x=/api', 1],
    ['/api/x', '/x', 1],
    ['/api/x/', '/x/', 1],
    ['/api/health?a=%2F&b=//', '/health?a=%2F&b=//', 1],
    ['/api/api/x', '/x', 2],
    ['/api/api', '/', 2],
    ['/api/api/api/', '/', 3],
    ['/%61pi/x', '/x', 1],
    ['/%61p%69/api/caf%C3%A9', '/caf%C3%A9', 2],
    ['/api/café', '/café', 1],
    ['/api/a%2Fb/%2E%2E', '/a%2Fb/%2E%2E', 1],
    ['/', '/', 0],
    ['/x', '/x', 0],
    ['/apiary', '/apiary', 0],
    ['/apix/y', '/apix/y', 0],
    ['/API/x', '/API/x', 0],
    ['/x/api/y', '/x/api/y', 0],
    ['/api%2Fx', '/api%2Fx', 0],
    ['/%zz/x', '/%zz/x', 0],
    ['//api/x', '//api/x', 0],
    ['/api//x', '/api//x', 0],
    ['/api//evil.example/', '/api//evil.example/', 0],
    ['/api/api//x', '/api//x', 1],
    ['?/api', '?/api', 0],
    ['*', '*', 0],
    ['http://h/api/x', 'http://h/api/x', 0],
    // The API's own routes begin with /api/v1.
    ['/api/v1/runs', '/api/v1/runs', 0],
    ['/api/v1', '/api/v1', 0],
    ['/api/api/v1/runs', '/api/v1/runs', 1],
    ['/api/api/api/v1/runs', '/api/v1/runs', 2],
    ['/api/v10', '/v10', 1],
  ])('%s is %s after %i', (raw, url, stripped) => {
    expect(stripPrefix(raw, '/api')).toEqual({ url, stripped });
  });
});

describe('other prefixes', () => {
  it.each([
    ['/team/agentrun', '/team/agentrun/api/v1/runs', '/api/v1/runs', 1],
    ['/team/agentrun', '/team/agentrun/team/agentrun/x', '/x', 2],
    ['/team/agentrun', '/team/agentrun', '/', 1],
    ['/team/agentrun', '/team/x', '/team/x', 0],
    ['/team/agentrun', '/team', '/team', 0],
    ['/team/agentrun', '/team/agentrun/team/x', '/team/x', 1],
    ['/team/agentrun', '/team%2Fagentrun/x', '/team%2Fagentrun/x', 0],
    ['/team/agentrun', '/te%61m/%61gentrun/x', '/x', 1],
    ['/agentrun', '/agentrun/api/v1/runs', '/api/v1/runs', 1],
    ['', '/api/x', '/api/x', 0],
    ['', '//x', '//x', 0],
  ])('%s: %s is %s after %i', (prefix, raw, url, stripped) => {
    expect(stripPrefix(raw, prefix)).toEqual({ url, stripped });
  });
});

describe('for any target', () => {
  const prefix = fc.constantFrom('/p', '/team/agentrun', '/api');
  const segment = fc.oneof(
    fc.constantFrom('p', 'team', 'agentrun', 'api', 'v1', '%70', 'a%2Fb', '..', '%', ''),
    fc.stringMatching(/^[a-z0-9%._~é-]{0,6}$/),
  );
  const target = fc
    .tuple(fc.array(segment, { maxLength: 6 }), fc.option(fc.string(), { nil: undefined }))
    .map(([segments, query]) => `/${segments.join('/')}${query === undefined ? '' : `?${query}`}`);

  test('what is left is an end of the raw bytes, begins with one slash, and no prefix is left to take', () => {
    fc.assert(
      fc.property(prefix, target, (taken, raw) => {
        const { url, stripped } = stripPrefix(raw, taken);
        const [path = ''] = url.split('?');
        const query = raw.includes('?') ? raw.slice(raw.indexOf('?')) : '';
        if (stripped === 0) expect(url).toBe(raw);
        else expect(raw.endsWith(url) || url === `/${query}`).toBe(true);
        expect(url.endsWith(query)).toBe(true);
        if (stripped > 0) expect(path.startsWith('//')).toBe(false);
        expect(stripPrefix(url, taken).stripped).toBe(0);
      }),
      { numRuns: 1_000 },
    );
  });

  test('the prefix in front, n times, is taken n times', () => {
    const path = fc.array(fc.stringMatching(/^[b-oq-s][a-z0-9]{0,5}$/), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(prefix, path, fc.integer({ min: 0, max: 5 }), (taken, segments, times) => {
        const bare = `/${segments.join('/')}?x=${taken}`;
        expect(stripPrefix(taken.repeat(times) + bare, taken)).toEqual({ url: bare, stripped: times });
      }),
    );
  });
});
