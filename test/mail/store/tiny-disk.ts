/** A disk that is small enough to be filled. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** Mounts a file system of so many MiB there, until it is disposed of; null where this user may not mount one. */
export function tinyDisk(dir: string, sizeMiB = 2): Disposable | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return null
  mkdirSync(dir, { recursive: true })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'tmpfs', dir], { stdio: 'ignore' })
  } catch {
    return null
  }
  return { [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', dir]) }
}
