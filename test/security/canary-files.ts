/** Looks for canaries in every file of a folder. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Canaries } from './canaries.ts'

/** `file: name, spelling` of all that is found below the folder. Files that are gone by their turn are passed over. */
export function canariesBelow(dir: string, canaries: Canaries): string[] {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return files.flatMap((entry) => {
    const path = join(entry.parentPath, entry.name)
    return canaries.in(readIfThere(path)).map((what) => `${path.slice(dir.length + 1)}: ${what}`)
  })
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Buffer.alloc(0)
    throw error
  }
}
