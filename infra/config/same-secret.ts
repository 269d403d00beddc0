import { createHash, timingSafeEqual } from 'node:crypto';

/** SHA-256 of a secret: of one length whatever the secret, so that it can be compared in constant time and kept in the secret's place. */
export function secretDigest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** Whether two digests of {@link secretDigest} are of one secret; the time that it takes tells nothing. */
export function isSameDigest(left: Buffer, right: Buffer): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/**
 * Whether two secrets are the same. The one way to compare a secret with what came from outside (requirements.md A.2.d 33-37): in constant time, by
 * digest, so that not even the length is told.
 */
export function isSameSecret(left: string, right: string): boolean {
  return isSameDigest(secretDigest(left), secretDigest(right));
}
