/** Deletes a folder with all that is in it, so that it stays deleted after a power cut. Links are removed, not followed. */
import { closeSync, fsyncSync, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'

export function eraseDir(dir: string): void {
  rmSync(dir, { recursive: true, force: true })
  const parent = openSync(dirname(dir), 'r')
  try {
    fsyncSync(parent)
  } finally {
    closeSync(parent)
  }
}
