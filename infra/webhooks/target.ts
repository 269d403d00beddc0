import ipaddr from 'ipaddr.js';

/** 2000::/3: all that was ever given out for the public Internet. What is outside may be unassigned, or site-local of old. */
const globalUnicast = ipaddr.IPv6.parse('2000::');
const globalUnicastBits = 3;
/** Public by its range, and inside each network of Azure the platform itself (WireServer: metadata, keys of extensions). */
const azurePlatform = '168.63.129.16';

/**
 * Whether an address is one of the public Internet. Private, loopback, link-local (with the metadata service of clouds), shared, multicast and reserved
 * ones are not, nor are forms of IPv6 that carry an IPv4 address (mapped, NAT64, 6to4, Teredo): what they lead to is not for us to know.
 */
export function isPublicAddress(address: string): boolean {
  if (address.includes('%') || !ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast' || parsed.toString() === azurePlatform) return false;
  return parsed instanceof ipaddr.IPv4 || parsed.match(globalUnicast, globalUnicastBits);
}

/** Whether the operator lets webhooks reach this host although it is private, and without TLS. Without a port: 443 of https and 80 of http, no other. */
export function isAllowedHost({ protocol, hostname, port }: URL, allowedHosts: readonly string[]): boolean {
  // `URL` leaves the usual port of a protocol out.
  if (port !== '') return allowedHosts.includes(`${hostname}:${port}`);
  const usual = protocol === 'http:' ? '80' : '443';
  return allowedHosts.includes(hostname) || allowedHosts.includes(`${hostname}:${usual}`);
}

/** The address that stands in a URL instead of a name; undefined for a name. `URL` has made `0x7f.1` and `2130706433` one of four numbers already. */
export function literalAddress({ hostname }: URL): string | undefined {
  const address = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return ipaddr.isValid(address) ? address : undefined;
}

/** What is wrong with a URL for a webhook as far as it says itself, without asking DNS: `expected …`. Undefined: nothing. */
export function targetProblem(text: string, allowedHosts: readonly string[]): string | undefined {
  if (!URL.canParse(text)) return 'expected an https:// URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'expected a URL without user and password';
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'expected an https:// URL';
  if (isAllowedHost(url, allowedHosts)) return undefined;
  if (url.protocol !== 'https:')
    return 'expected an https:// URL, or a host that AGENTRUN_WEBHOOK_ALLOWED_HOSTS names';
  const address = literalAddress(url);
  const isPrivate = address === undefined ? isLocalName(url.hostname) : !isPublicAddress(address);
  return isPrivate
    ? 'expected a host of the public Internet, or one that AGENTRUN_WEBHOOK_ALLOWED_HOSTS names'
    : undefined;
}

function isLocalName(hostname: string): boolean {
  const name = hostname.replace(/\.$/, '');
  return name === 'localhost' || name.endsWith('.localhost');
}
