// What the single file has in place of Node's Headers, Request and Response. The adapter derives its own from them when
// it is imported, and so Node would load all of fetch, for 8 ms of the start and 6 MB. With these the first request that
// needs one of them does that, and a kill does not.
const lazy = (name) => {
  let real
  const load = () => {
    if (real) return real
    real = globalThis[name]
    Object.setPrototypeOf(Lazy, real)
    Object.setPrototypeOf(Lazy.prototype, real.prototype)
    return real
  }
  function Lazy(...args) {
    return Reflect.construct(load(), args, new.target === Lazy ? load() : new.target)
  }
  const hasInstance = (it) => (real ? it instanceof real : Object.prototype.isPrototypeOf.call(Lazy.prototype, it))
  return Object.defineProperty(Lazy, Symbol.hasInstance, { value: hasInstance })
}

export const [LazyHeaders, LazyRequest, LazyResponse] = ['Headers', 'Request', 'Response'].map(lazy)
