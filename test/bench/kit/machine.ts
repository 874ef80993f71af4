/** Where and with what was measured. */
import { execFileSync } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'
import { natsServerPath } from '../../support/nats-server.ts'

export type Machine = {
  /** Short hash, with a `+` when the files differ from it. */
  commit: string
  node: string
  server: string
  cpu: string
  cores: number
  memoryGb: number
  system: string
  /** Where all that is measured writes to, and how much room there is. */
  disk: Disk
}

type Disk = { kind: string; freeGb: number }

/** The magic numbers of statfs(2). */
const FILE_SYSTEMS: Record<number, string> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  801189825: 'zfs',
  2035054128: 'overlayfs',
  16914836: 'tmpfs',
  2240043254: 'ramfs',
}
const IN_MEMORY = new Set(['tmpfs', 'ramfs'])

/** @throws Error where nothing reaches a disk: what durability costs would be in no figure */
export function diskAt(dir: string, { type, bavail, bsize }: Stats = statfsSync(dir)): Disk {
  const kind = FILE_SYSTEMS[type] ?? `file system 0x${type.toString(16)}`
  if (IN_MEMORY.has(kind)) throw new Error(`${dir} is memory (${kind}): set TMPDIR to a folder on a disk`)
  return { kind, freeGb: Math.floor((bavail * bsize) / 2 ** 30) }
}

type Stats = { type: number; bavail: number; bsize: number }

const ROOT = new URL('../../..', import.meta.url).pathname
const git = (...args: string[]): string => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()

/** Also of a source that is no clone. */
function commitOf(): string {
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+')
  } catch (error) {
    return error instanceof Error ? 'unknown' : String(error)
  }
}

/** @param dir where is written to */
export async function thisMachine(dir: string): Promise<Machine> {
  const version = execFileSync(await natsServerPath(), ['--version'], { encoding: 'utf8' })
  return {
    commit: commitOf(),
    node: process.versions.node,
    server: /v([\d.]+)/.exec(version)?.[1] ?? version.trim(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    disk: diskAt(dir),
  }
}
