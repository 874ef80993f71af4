/** One question: can anything be kept in this data folder now? Asked by writing, because only that is the truth. */
import { open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { asStoreError, DiskError } from './disk-errors.ts'

/** About what the database of one more user needs at first, with its WAL. */
const PROBE_BYTES = 1024 * 1024

/**
 * Writes a file and removes it again.
 * @param roomBytes what must be free besides; it is not written, because users that run may need it
 * @throws DiskError when there is no room, or nothing may be written.
 */
export async function probeDataDir(dataDir: string, roomBytes = 0): Promise<void> {
  const path = join(dataDir, 'room.probe')
  try {
    await using file = await open(path, 'w', 0o600)
    const { bavail, bsize, blocks } = await statfs(dataDir)
    // Some file systems do not know their size.
    if (blocks > 0 && bavail * bsize < roomBytes)
      throw new DiskError('DISK_FULL', `${dataDir} has ${bavail * bsize} bytes of room, not ${roomBytes}`)
    await file.writeFile(Buffer.alloc(PROBE_BYTES))
    await file.datasync()
  } catch (error) {
    throw asStoreError(error, path)
  } finally {
    await rm(path, { force: true }).catch((error) => {
      throw asStoreError(error, path)
    })
  }
}
