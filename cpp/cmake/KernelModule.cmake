# How a compiled module of the package is built.

# bptt_compile_options(<target> <scope> <flag>...)
#
# Flags of g++ and clang++; clang-cl takes them behind a prefix.
function(bptt_compile_options target scope)
  if(CMAKE_CXX_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
    list(TRANSFORM ARGN PREPEND "/clang:")
  endif()
  target_compile_options(${target} ${scope} ${ARGN})
endfunction()

add_library(bptt_warnings INTERFACE)
bptt_compile_options(bptt_warnings INTERFACE -Wall -Wextra -Wshadow -Wconversion
                     -Wno-sign-conversion -Wno-ignored-attributes)
if(BPTT_WERROR)
  bptt_compile_options(bptt_warnings INTERFACE -Werror)
endif()

# bptt_add_module(<name> <source>...)
#
# NO_EXTRAS: no link-time optimization, which could carry instructions from one instruction set
# into another.
function(bptt_add_module name)
  pybind11_add_module(${name} MODULE NO_EXTRAS ${ARGN})
  target_compile_features(${name} PRIVATE cxx_std_20)
  set_target_properties(
    ${name}
    PROPERTIES CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(${name} PRIVATE bptt_warnings)
  # What pybind11 shares between modules stays within each, above all the translators of exceptions:
  # where the C++ library is linked statically, as libc++ is by zig, a module does not recognize the
  # exceptions of another one, and MemoryError would become "unknown exception".
  target_compile_definitions(${name} PRIVATE PYBIND11_STDLIB="_${name}")
  install(TARGETS ${name} LIBRARY DESTINATION ${SKBUILD_PROJECT_NAME}/_core)
endfunction()

# bptt_add_kernel_module(<isa> <flag>...)
#
# Builds _kernels_<isa>. Each instruction set needs a module of its own: Eigen's inline functions
# have one name for all of them, and within one module the linker would keep one at random.
function(bptt_add_kernel_module isa)
  set(module _kernels_${isa})
  set(core bptt_core_${isa})
  # Compiled without the headers of Python: the objects are the same for all its versions.
  add_library(${core} OBJECT ${BPTT_CORE_SOURCES})
  target_compile_features(${core} PRIVATE cxx_std_20)
  set_target_properties(
    ${core}
    PROPERTIES CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               POSITION_INDEPENDENT_CODE ON)
  bptt_add_module(${module} ${BPTT_BINDING_SOURCES})
  target_compile_definitions(
    ${module} PRIVATE BPTT_MODULE_NAME=${module} BPTT_ISA="${isa}")
  # One file for each group: compiling pybind11 itself takes longer than the rest of it.
  set_target_properties(${module} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  foreach(target IN ITEMS ${core} ${module})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/cpp")
    # Neither errno nor the floating point exception flags are read; results stay IEEE. g++ fuses
    # products and sums where the hardware can, which takes a fifth off the optimizers' instructions;
    # clang does not, as its wheels are tested.
    bptt_compile_options(
      ${target} PRIVATE -fno-math-errno -fno-trapping-math
      -ffp-contract=$<IF:$<CXX_COMPILER_ID:GNU>,fast,off> ${ARGN})
    target_link_libraries(
      ${target} PRIVATE bptt_warnings bptt_eigen bptt_openmp Threads::Threads)
  endforeach()
  target_link_libraries(${module} PRIVATE ${core})
endfunction()
