import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { requestUrl } from '../../client/index.js';

describe('the address of a route', () => {
  it.each([
    ['http://a:8000', ['s', 'q'], {}, 'http://a:8000/s/q'],
    ['http://a:8000/', ['s', 'q'], {}, 'http://a:8000/s/q'],
    ['http://a:8000//', ['s', 'q'], {}, 'http://a:8000/s/q'],
    ['https://h/api', ['s', 'q'], {}, 'https://h/api/s/q'],
    ['https://h/api/', ['s', 'q'], { x: 1 }, 'https://h/api/s/q?x=1'],
    ['https://h/team/agentrun', ['s'], { a: 'b c', skipped: undefined }, 'https://h/team/agentrun/s?a=b+c'],
  ])('%s and %j', (base, segments, query, url) => {
    expect(requestUrl(base, segments, query)).toBe(url);
  });

  it.each([
    ['a/b', 'a%2Fb'],
    ['?', '%3F'],
    ['#', '%23'],
    ['&', '%26'],
    ['%', '%25'],
    ['%2e%2e', '%252e%252e'],
    ['a b', 'a%20b'],
    ['...', '...'],
    ['..a', '..a'],
    ['café', 'caf%C3%A9'],
    ['a\\b', 'a%5Cb'],
  ])('encodes the segment %j', (segment, encoded) => {
    expect(requestUrl('https://h/api', ['s', segment, 'events'])).toBe(`https://h/api/s/${encoded}/events`);
  });

  it.each([[''], ['.'], ['..']])('refuses the segment %j', (segment) => {
    expect(() => requestUrl('https://h/api', ['s', segment])).toThrow(TypeError);
  });

  test('never leads to another route: each segment comes back as it was', () => {
    // Whole characters: half of a surrogate pair has no encoding.
    const segment = fc.string({ unit: 'grapheme', minLength: 1 });
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
        fc.pre(segments.every((text) => text !== '.' && text !== '..'));
        const { pathname, search, hash } = new URL(requestUrl('https://h/api', segments));
        expect([search, hash]).toEqual(['', '']);
        expect(pathname.split('/').slice(2).map(decodeURIComponent)).toEqual(segments);
        expect(pathname.startsWith('/api/')).toBe(true);
      }),
    );
  });
});
