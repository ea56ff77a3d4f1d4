import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.Opcodes;

/**
 * Asks classes of WSO2 API Manager. Each line of stdin is a question, each line of stdout its answer, both as JSON.
 *
 * <p>The arguments are where these classes are, and {@link Answers}. Many classes that they refer to are published
 * nowhere; an empty one is made for each, so that code runs as long as it does not call into such a class.
 */
public final class Oracle extends URLClassLoader {
  /** What the product's classes implement and Maven Central does not have. */
  private static final Set<String> INTERFACES = Set.of("org.apache.synapse.ManagedLifecycle");

  private Oracle(URL[] places) {
    super(places, ClassLoader.getPlatformClassLoader());
  }

  public static void main(String[] places) throws Exception {
    var urls = new ArrayList<URL>();
    for (var place : places) {
      urls.add(Path.of(place).toUri().toURL());
    }
    try (var loader = new Oracle(urls.toArray(URL[]::new))) {
      Thread.currentThread().setContextClassLoader(loader);
      @SuppressWarnings("unchecked")
      var answers = (UnaryOperator<String>) loader.loadClass("Answers").getDeclaredConstructor().newInstance();
      var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
      new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))
          .lines().map(answers).forEach(out::println);
    }
  }

  @Override
  protected Class<?> findClass(String name) throws ClassNotFoundException {
    try {
      return super.findClass(name);
    } catch (ClassNotFoundException missing) {
      // Java's own libraries look for parts of theirs and can do without.
      if (name.startsWith("java")) {
        throw missing;
      }
      var made = emptyClass(name.replace('.', '/'), INTERFACES.contains(name));
      return defineClass(name, made, 0, made.length);
    }
  }

  private static byte[] emptyClass(String name, boolean isInterface) {
    var writer = new ClassWriter(0);
    var parent = name.endsWith("Exception") ? "java/lang/Exception" : "java/lang/Object";
    var kind = isInterface ? Opcodes.ACC_INTERFACE | Opcodes.ACC_ABSTRACT : Opcodes.ACC_SUPER;
    writer.visit(Opcodes.V17, Opcodes.ACC_PUBLIC | kind, name, null, parent, null);
    if (!isInterface) {
      var constructor = writer.visitMethod(Opcodes.ACC_PUBLIC, "<init>", "()V", null, null);
      constructor.visitCode();
      constructor.visitVarInsn(Opcodes.ALOAD, 0);
      constructor.visitMethodInsn(Opcodes.INVOKESPECIAL, parent, "<init>", "()V", false);
      constructor.visitInsn(Opcodes.RETURN);
      constructor.visitMaxs(1, 1);
      constructor.visitEnd();
    }
    writer.visitEnd();
    return writer.toByteArray();
  }
}
