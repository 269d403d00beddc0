import { z } from 'zod';
import { optional } from './optional.js';
import { subdirectorySchema, textSchema, timeSchema } from './text.js';

export const storageKindSchema = z.enum(['none', 'pvc', 'evicted']);
export const storageBackendSchema = z.enum(['pvc', 'directory']);

/**
 * The storage of a session (contract.md 3.9): a volume claim, or a directory in local mode. Size, file count and hash are those of the last look
 * (`storageUpdatedAt`) of the control plane, for a volume of the supervisor in its runner; never what a client says.
 */
export const storageSummarySchema = z
  .object({
    sessionId: z.string(),
    storageKind: storageKindSchema,
    storageBackend: storageBackendSchema.nullable(),
    pvcName: z.string().nullable(),
    namespace: z.string().nullable(),
    pvcPhase: z.string().nullable(),
    storageSizeBytes: z.number().int().nullable(),
    storageFilesCount: z.number().int().nullable(),
    storageSha256: z.string().nullable(),
    storageUpdatedAt: z.string().nullable(),
    codexRolloutSubdir: z.string(),
    expiresAt: z.string(),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'Storage', description: 'The storage of a session as the control plane last saw it.' });
export type StorageSummary = z.infer<typeof storageSummarySchema>;

/**
 * Body of `POST /api/v1/sessions/:sessionId/storage/refresh`. Old clients name the volume and say what they measured: the name must be the session's
 * (409), the rest is checked for its type and measured anew (contract.md oddity 19), unless it comes from the runner that has the session's volume.
 */
export const refreshStorageSchema = z
  .strictObject({
    pvcName: optional(textSchema),
    namespace: optional(textSchema),
    pvcPhase: z.string().nullable().optional(),
    storageSizeBytes: z.number().nullable().optional(),
    storageFilesCount: z.number().nullable().optional(),
    storageSha256: z.string().nullable().optional(),
    storageUpdatedAt: timeSchema.nullable().optional(),
    codexRolloutSubdir: optional(subdirectorySchema),
  })
  .meta({ id: 'RefreshStorage' });
export type RefreshStorage = z.infer<typeof refreshStorageSchema>;

export const refreshedStorageSchema = z
  .object({
    action: z.literal('session-storage-refreshed'),
    sessionId: z.string(),
    summary: storageSummarySchema,
  })
  .meta({ id: 'RefreshedStorage' });

/** Answer of an eviction: the volume is gone, the record stays. Safe to repeat. */
export const evictedStorageSchema = z
  .object({
    action: z.literal('session-storage-evicted'),
    sessionId: z.string(),
    summary: storageSummarySchema,
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'EvictedStorage' });

/** Report of one cycle of the storage's garbage collection: sessions whose `expiresAt` has passed and that have no active turn are evicted. */
export const storageGcSchema = z
  .object({
    action: z.literal('session-storage-gc'),
    examined: z.number().int(),
    kept: z.array(z.object({ sessionId: z.string(), reason: z.string() })),
    deleted: z.array(z.string()),
    failed: z.array(z.object({ sessionId: z.string(), reason: z.string() })),
    /** More sessions have expired than one cycle examines. */
    hasMore: z.boolean(),
    valuesPrinted: z.literal(false),
  })
  .meta({
    id: 'StorageCollection',
    description: 'Report of one cycle of the collection of expired storage.',
  });
export type StorageGc = z.infer<typeof storageGcSchema>;
