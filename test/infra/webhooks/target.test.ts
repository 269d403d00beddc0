import { describe, expect, it } from 'vitest';
import { isAllowedHost, isPublicAddress, targetProblem } from '../../../infra/webhooks/target.js';

describe('an address that a webhook may lead to', () => {
  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '172.15.255.255',
    '172.32.0.1',
    '192.167.1.1',
    '100.63.255.255',
    '100.128.0.1',
    '169.253.1.1',
    '223.255.255.254',
    '168.63.129.15',
    '168.63.129.17',
    '2606:4700:4700::1111',
    '2a00:1450:4001:830::200e',
  ])('%s is public', (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  it.each([
    ['unspecified', '0.0.0.0'],
    ['this network', '0.1.2.3'],
    ['private', '10.0.0.1'],
    ['private', '172.16.0.1'],
    ['private', '172.31.255.255'],
    ['private', '192.168.1.1'],
    ['loopback', '127.0.0.1'],
    ['loopback', '127.255.255.254'],
    ['metadata of clouds', '169.254.169.254'],
    ['metadata of containers', '169.254.170.2'],
    ['shared (carrier-grade NAT)', '100.64.0.1'],
    ['shared (carrier-grade NAT)', '100.127.255.255'],
    ['metadata of Alibaba', '100.100.100.200'],
    ['platform of Azure', '168.63.129.16'],
    ['protocol assignments', '192.0.0.8'],
    ['documentation', '192.0.2.1'],
    ['documentation', '198.51.100.1'],
    ['documentation', '203.0.113.9'],
    ['6to4 relay', '192.88.99.1'],
    ['benchmarks', '198.18.0.1'],
    ['benchmarks', '198.19.255.255'],
    ['multicast', '224.0.0.1'],
    ['multicast', '239.255.255.250'],
    ['reserved', '240.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['unspecified', '::'],
    ['loopback', '::1'],
    ['IPv4-mapped loopback', '::ffff:127.0.0.1'],
    ['IPv4-mapped private', '::ffff:a00:1'],
    ['IPv4-mapped public', '::ffff:8.8.8.8'],
    ['IPv4-compatible', '::127.0.0.1'],
    ['IPv4-translated', '::ffff:0:127.0.0.1'],
    ['NAT64', '64:ff9b::7f00:1'],
    ['NAT64', '64:ff9b::8.8.8.8'],
    ['NAT64 of a network of its own', '64:ff9b:1::a00:1'],
    ['6to4', '2002:7f00:1::'],
    ['6to4', '2002:a9fe:a9fe::1'],
    ['Teredo', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
    ['link-local', 'fe80::1'],
    ['link-local with a zone', 'fe80::1%eth0'],
    ['public with a zone', '2606:4700:4700::1111%eth0'],
    ['site-local', 'fec0::1'],
    ['unique local', 'fc00::1'],
    ['metadata of AWS', 'fd00:ec2::254'],
    ['multicast', 'ff02::1'],
    ['documentation', '2001:db8::1'],
    ['documentation', '3fff::1'],
    ['benchmarks', '2001:2::1'],
    ['discard', '100::1'],
    ['ORCHID', '2001:20::1'],
    ['segment routing', '5f00::1'],
    ['unassigned', '4000::1'],
    ['no address', 'localhost'],
    ['no address', ''],
  ])('%s: %s is refused', (_what, address) => {
    expect(isPublicAddress(address)).toBe(false);
  });
});

describe('a URL for a webhook', () => {
  it.each(['https://hooks.example.com/x?y=1', 'https://8.8.8.8:8443/', 'https://[2606:4700:4700::1111]/'])(
    '%s is taken',
    (url) => {
      expect(targetProblem(url, [])).toBeUndefined();
    },
  );

  it.each([
    'http://hooks.example.com/',
    'ftp://hooks.example.com/',
    'https://user:pass@hooks.example.com/',
    'https://user@hooks.example.com/',
    'https://localhost/',
    'https://a.localhost./',
    'https://LOCALHOST/',
    'https://127.0.0.1/',
    'https://127.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0177.0.0.1/',
    'https://[::1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://169.254.169.254/latest/meta-data',
    'https://10.0.0.1:8443/',
    'https://168.63.129.16:32526/',
    'https://',
    'nothing',
  ])('%s is refused', (url) => {
    expect(targetProblem(url, [])).toMatch(/^expected /);
  });

  it('may lead to a host that the operator names, by name or with its port, but nowhere beside', () => {
    expect(targetProblem('http://127.0.0.1:9000/x', ['127.0.0.1:9000'])).toBeUndefined();
    expect(targetProblem('http://127.0.0.1:9001/x', ['127.0.0.1:9000'])).toBeDefined();
    expect(targetProblem('http://receiver/x', ['receiver'])).toBeUndefined();
    expect(targetProblem('https://receiver/x', ['receiver'])).toBeUndefined();
    expect(targetProblem('http://receiver:80/x', ['receiver'])).toBeUndefined();
    for (const other of ['http://receiver:81/', 'https://receiver:6443/', 'http://receiver:443/'])
      expect(isAllowedHost(new URL(other), ['receiver'])).toBe(false);
    expect(targetProblem('https://127.0.0.1:5432/', ['127.0.0.1'])).toBeDefined();
    expect(targetProblem('http://receiver/x', ['receiver:80'])).toBeUndefined();
    expect(targetProblem('https://[::1]:9000/', ['[::1]:9000'])).toBeUndefined();
    expect(targetProblem('http://receiver.example.com/x', ['receiver'])).toBeDefined();
    expect(targetProblem('http://user:pass@receiver/x', ['receiver'])).toBeDefined();
  });
});
