/**
 * A thread of this process, which does not keep the process alive, with the cache of compiled code that the process uses: without it each begins
 * by loading what strips types.
 */
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { Worker } from 'node:worker_threads'

export function startThread(program: URL): Worker {
  const cache = getCompileCacheDir()
  // Node has added a folder for its own version.
  const env = cache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: dirname(cache) }
  const thread = new Worker(program, { env })
  thread.unref()
  return thread
}
