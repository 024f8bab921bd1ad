import "../../examples/swish/swish.test.ts";
