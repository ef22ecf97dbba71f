// What the single file has in place of the global Headers, Request and Response in @hono/node-server, which derives its
// own from them when it is imported: Node then loads all of fetch, for 8 ms of the start and 6 MB. With these it is
// loaded by the first request that needs one of them, and a kill does not. (On Node 20: from 22 on, to look at the
// property loads it.)
const lazy = (name) => {
  const given = Object.getOwnPropertyDescriptor(globalThis, name)
  // Other runtimes have it at hand.
  if (!given.get) return given.value
  let real
  const load = () => {
    if (real) return real
    const current = Object.getOwnPropertyDescriptor(globalThis, name)
    real = given.get.call(globalThis)
    // Node's getter puts the real one in the global's place, where the adapter's own may be by now.
    if (current.get !== load) Object.defineProperty(globalThis, name, current)
    Object.setPrototypeOf(Lazy, real)
    Object.setPrototypeOf(Lazy.prototype, real.prototype)
    return real
  }
  function Lazy(...args) {
    return Reflect.construct(load(), args, new.target === Lazy ? load() : new.target)
  }
  const hasInstance = (it) => (real ? it instanceof real : Object.prototype.isPrototypeOf.call(Lazy.prototype, it))
  // Whoever else makes one loads it here too: else its own would not be told for one.
  Object.defineProperty(globalThis, name, { ...given, get: load })
  return Object.defineProperty(Lazy, Symbol.hasInstance, { value: hasInstance })
}

export const [LazyHeaders, LazyRequest, LazyResponse] = ['Headers', 'Request', 'Response'].map(lazy)
